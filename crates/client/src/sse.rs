//! Server-sent events (WHATWG HTML, 9.2): bytes in, messages out. Pure.

use sandkeep_core::code::{ErrorCode, Problem};

/// Most bytes of one message: above any piece of output that a server sends, in base64.
const MOST_BYTES: usize = 8 << 20;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// What kind: `message` where nothing was said.
    pub event: String,
    /// The lines of its data.
    pub data: String,
    /// Where to read on after it; empty before the first id of a stream.
    pub id: String,
}

/// Reads a stream, piece by piece.
#[derive(Debug, Default)]
pub struct Parser {
    /// A line whose end has not come.
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed now belongs to it.
    after_return: bool,
    /// Some line was read: a byte order mark is not one any more.
    begun: bool,
    event: String,
    data: Option<String>,
    last_id: String,
}

impl Parser {
    /// The messages that `bytes` complete.
    ///
    /// # Errors
    /// `protocol_error`: a message is larger than any of ours.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Message>, Problem> {
        let mut messages = Vec::new();
        for &byte in bytes {
            let of_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if of_return => {}
                b'\n' | b'\r' => messages.extend(self.end_line()),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.as_ref().map_or(0, String::len) > MOST_BYTES {
                return Err(Problem::new(
                    ErrorCode::ProtocolError,
                    "an event of the stream is larger than 8 MiB",
                ));
            }
        }
        Ok(messages)
    }

    fn end_line(&mut self) -> Option<Message> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let begun = std::mem::replace(&mut self.begun, true);
        let line = if begun { &*line } else { line.strip_prefix('\u{feff}').unwrap_or(&line) };
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => value.clone_into(&mut self.last_id),
            // A comment, a time to wait (we have our own), or what nobody knows yet.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Message> {
        let event = std::mem::take(&mut self.event);
        let data = self.data.take()?;
        let event = if event.is_empty() { "message".to_owned() } else { event };
        Some(Message { event, data, id: self.last_id.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(String, String, String)> {
        let messages = Parser::default().feed(text.as_bytes()).unwrap();
        messages.into_iter().map(|message| (message.event, message.data, message.id)).collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str, &str)]) {
        let owned =
            |&(event, data, id): &(&str, &str, &str)| (event.to_owned(), data.to_owned(), id.to_owned());
        assert_eq!(read(text), expected.iter().map(owned).collect::<Vec<_>>(), "{text:?}");
    }

    #[test]
    fn reads_what_the_standard_says() {
        check("event: output\nid: 7\ndata: {}\n\n", &[("output", "{}", "7")]);
        check("data:a\ndata: b\ndata\n\n", &[("message", "a\nb\n", "")]);
        check(": alive\n\ndata:  x\r\n\r\n", &[("message", " x", "")]);
        check("id: 1\ndata: a\n\ndata: b\n\n", &[("message", "a", "1"), ("message", "b", "1")]);
        check("id: 3\n\nevent: gone\n\ndata: a\n\n", &[("message", "a", "3")]);
        check("\u{feff}data: a\r\rid: x\0y\ndata: b\n\n", &[("message", "a", ""), ("message", "b", "")]);
        // What is not complete is no message.
        check("data: a\n", &[]);
        check("data: a", &[]);
        check("retry: 1\nwhat: ever\ndata: a:b\n\n", &[("message", "a:b", "")]);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; 1 << 20];
        let problem = (0..9).find_map(|_| parser.feed(&piece).err()).unwrap();
        assert_eq!(problem.code, ErrorCode::ProtocolError);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_it_is_cut(text in "([a-d:\r\n \u{e9}]|data: |id: |\n\n){0,60}", cuts in prop::collection::vec(0usize..200, 0..8)) {
            let whole = Parser::default().feed(text.as_bytes()).unwrap();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut parser = Parser::default();
            let mut pieces = Vec::new();
            for ends in cuts.windows(2) {
                pieces.extend(parser.feed(&text.as_bytes()[ends[0]..ends[1]]).unwrap());
            }
            prop_assert_eq!(pieces, whole);
        }

        #[test]
        fn what_is_written_is_read(data in "[^\r\n\u{feff}]{0,40}(\n[^\r\n]{0,40}){0,3}") {
            let lines: String = data.split('\n').map(|line| format!("data: {line}\n")).collect();
            let read = Parser::default().feed(format!("{lines}\n").as_bytes()).unwrap();
            prop_assert_eq!(&read[0].data, &data);
        }
    }
}
