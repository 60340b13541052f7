//! The way in: frames become events, and everything that breaks the rules ends the connection.

use super::stream::{Sending, Stream};
use super::{Event, MAGIC, MAX_EVENTS, MAX_STREAMS, Mux, StreamId, VERSION, Violation};
use crate::frame::{Frame, Header, Kind, MAX_PAYLOAD_BYTES};
use crate::head::{Head, ResponseHead};

impl Mux {
    /// Takes bytes as they came from the socket, in pieces of any size; drain the events after it.
    ///
    /// # Errors
    /// The peer broke the rules. Close the connection; every later call gives the same answer.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        if let Some(violation) = self.violation {
            return Err(violation);
        }
        self.receive_frames(bytes).inspect_err(|violation| self.violation = Some(*violation))
    }

    fn receive_frames(&mut self, mut bytes: &[u8]) -> Result<(), Violation> {
        while let Some(frame) = self.decoder.next(&mut bytes)? {
            if self.events.len() >= MAX_EVENTS {
                return Err(Violation::Flood);
            }
            if self.greeted == (frame.header.kind == Kind::Hello) {
                return Err(Violation::Hello);
            }
            self.receive_frame(frame)?;
        }
        Ok(())
    }

    fn receive_frame(&mut self, frame: Frame) -> Result<(), Violation> {
        let Frame { header, payload } = frame;
        match header.kind {
            Kind::Hello => self.receive_hello(&payload),
            Kind::Open => self.receive_open(header, &payload),
            Kind::Reply => self.receive_reply(header.stream, &payload),
            Kind::Data => self.receive_data(header.stream, payload),
            Kind::End => self.receive_end(header.stream),
            Kind::Reset => self.receive_reset(header.stream, word(&payload)),
            Kind::Window => self.receive_window(header.stream, word(&payload)),
            Kind::Ping => {
                self.output.pong = payload.first_chunk().map(|token| u64::from_le_bytes(*token));
                Ok(())
            }
            Kind::Pong => {
                let token = payload.first_chunk().map_or(0, |token| u64::from_le_bytes(*token));
                self.events.push_back(Event::Pong { token });
                Ok(())
            }
        }
    }

    fn receive_hello(&mut self, payload: &[u8]) -> Result<(), Violation> {
        // The frame is at least this long; what a later version appends is skipped.
        let Some(&[a, b, c, d, min0, min1, max0, max1]) = payload.first_chunk::<8>() else {
            return Err(Violation::Magic);
        };
        if [a, b, c, d] != MAGIC {
            return Err(Violation::Magic);
        }
        let (min, max) = (u16::from_le_bytes([min0, min1]), u16::from_le_bytes([max0, max1]));
        if !(min..=max).contains(&VERSION) {
            return Err(Violation::Version { min, max });
        }
        self.greeted = true;
        self.events.push_back(Event::Hello { version: VERSION });
        Ok(())
    }

    fn receive_open(&mut self, header: Header, payload: &[u8]) -> Result<(), Violation> {
        let id = header.stream;
        if self.side.opens(id) || id <= self.last_peer_id {
            return Err(Violation::OpenedId(id));
        }
        if self.count(false) >= MAX_STREAMS {
            return Err(Violation::TooManyStreams);
        }
        let head = Head::decode(payload).map_err(|source| Violation::Head { stream: id, source })?;
        self.last_peer_id = id;
        self.streams.insert(id, Stream::opened_by_peer());
        self.events.push_back(Event::Opened { id: StreamId(id), head, fds: header.fds });
        Ok(())
    }

    fn receive_reply(&mut self, id: u32, payload: &[u8]) -> Result<(), Violation> {
        let Some(stream) = self.known(id)? else {
            return Ok(());
        };
        if !stream.ours || stream.replied {
            return Err(Violation::Reply(id));
        }
        stream.replied = true;
        let head = ResponseHead::decode(payload).map_err(|source| Violation::Head { stream: id, source })?;
        self.events.push_back(Event::Replied { id: StreamId(id), head });
        Ok(())
    }

    fn receive_data(&mut self, id: u32, payload: Vec<u8>) -> Result<(), Violation> {
        let Some(stream) = self.known_sender(id)? else {
            return Ok(());
        };
        if !stream.take_in(payload.len()) {
            return Err(Violation::Overrun(id));
        }
        let id = StreamId(id);
        match self.events.back_mut() {
            // A peer that sends byte by byte must not cost an event for each.
            Some(Event::Data { id: last, bytes })
                if *last == id && bytes.len() + payload.len() <= MAX_PAYLOAD_BYTES =>
            {
                bytes.extend_from_slice(&payload);
            }
            _ => self.events.push_back(Event::Data { id, bytes: payload }),
        }
        Ok(())
    }

    fn receive_end(&mut self, id: u32) -> Result<(), Violation> {
        let Some(stream) = self.known_sender(id)? else {
            return Ok(());
        };
        stream.peer_finished = true;
        let gone = stream.sending == Sending::Finished;
        self.events.push_back(Event::Finished { id: StreamId(id) });
        if gone {
            self.remove(id);
        }
        Ok(())
    }

    fn receive_reset(&mut self, id: u32, code: u32) -> Result<(), Violation> {
        if self.known(id)?.is_some() {
            self.events.push_back(Event::Reset { id: StreamId(id), code });
        }
        // Also when we had given it up ourselves and the two crossed.
        self.remove(id);
        Ok(())
    }

    fn receive_window(&mut self, id: u32, credit: u32) -> Result<(), Violation> {
        let Some(stream) = self.known(id)? else {
            return Ok(());
        };
        if !stream.take_credit(credit) {
            return Err(Violation::Window(id));
        }
        if stream.can_send() {
            self.schedule(id);
        }
        Ok(())
    }

    /// The stream of a frame; `None` when it is gone or we have given it up.
    fn known(&mut self, id: u32) -> Result<Option<&mut Stream>, Violation> {
        let opened = if self.side.opens(id) { id < self.next_id } else { id <= self.last_peer_id };
        // One of ours whose opening frame has not been written cannot be known over there.
        let unheard = |stream: &Stream| stream.ours && stream.head.is_some();
        if !opened || self.streams.get(&id).is_some_and(unheard) {
            return Err(Violation::Unknown(id));
        }
        Ok(self.streams.get_mut(&id).filter(|stream| stream.reset.is_none()))
    }

    /// The same for a frame of a body, which must be in its place.
    fn known_sender(&mut self, id: u32) -> Result<Option<&mut Stream>, Violation> {
        let stream = self.known(id)?;
        match &stream {
            Some(stream) if stream.peer_finished => Err(Violation::AfterEnd(id)),
            Some(stream) if stream.ours && !stream.replied => Err(Violation::Reply(id)),
            Some(_) | None => Ok(stream),
        }
    }
}

/// The number in a payload whose length the decoder has checked.
fn word(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
