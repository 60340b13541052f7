//! Who listens at a port of this machine: the administrator's key is shown to nobody else's program.

use std::fs;

/// State `LISTEN` in `proc_net_tcp(5)`.
const LISTENING: &str = "0A";

/// The user of a program that listens at `port`, on any address of this machine, and is neither ours nor root's.
pub(super) fn somebody_elses(port: u16, us: u32) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    tables.iter().find_map(|table| other(table, port, us))
}

fn other(table: &str, port: u16, us: u32) -> Option<u32> {
    let port = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, uid, ..] = fields[..] else { return None };
        let uid = uid.parse().ok().filter(|uid| *uid != us && *uid != 0)?;
        (state == LISTENING && local.ends_with(&port)).then_some(uid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listeners_of_others_at_the_port_count() {
        let line = |local: &str, state: &str, uid: &str| {
            format!(
                "  0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  {uid}  0 33 1"
            )
        };
        let table = |lines: &[String]| format!("  sl  local_address …\n{}\n", lines.join("\n"));
        let others = line("0100007F:1F40", "0A", "1001");
        assert_eq!(other(&table(std::slice::from_ref(&others)), 8000, 1000), Some(1001));
        assert_eq!(other(&table(std::slice::from_ref(&others)), 8001, 1000), None);
        assert_eq!(other(&table(&[others]), 8000, 1001), None, "ours");
        let harmless = [
            line("0100007F:1F40", "0A", "0"),
            line("0100007F:1F40", "01", "1001"),
            line("0100007F:0050", "0A", "1001"),
        ];
        assert_eq!(other(&table(&harmless), 8000, 1000), None);
        assert_eq!(other("", 8000, 1000), None);
    }
}
