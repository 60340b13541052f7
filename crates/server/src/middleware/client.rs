//! Who is at the other end.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

use crate::config::Network;

/// The other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The client's address: the peer's, or, as far as the peers are trusted, what they say in `X-Forwarded-For`. Each proxy
/// adds the address that it saw at the end, so the list is read from there, and the first that is no proxy of ours is the
/// client; what stands before it may be made up.
pub(crate) fn address(peer: Peer, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut address = peer.0.ip().to_canonical();
    let lines = headers.get_all("x-forwarded-for").into_iter().rev();
    let hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    for hop in hops {
        if !is_trusted(address) {
            break;
        }
        let Ok(next) = hop.trim().parse::<IpAddr>() else { break };
        address = next.to_canonical();
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, lines: &[&str], trusted: &[&str], expected: &str) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted: Vec<Network> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let peer = Peer(SocketAddr::new(peer.parse().unwrap(), 1));
        assert_eq!(address(peer, &headers, &trusted), expected.parse::<IpAddr>().unwrap());
    }

    #[test]
    fn only_what_trusted_peers_say_is_believed() {
        check("9.9.9.9", &[], &[], "9.9.9.9");
        check("9.9.9.9", &["1.1.1.1"], &[], "9.9.9.9");
        check("9.9.9.9", &["1.1.1.1"], &["10.0.0.0/8"], "9.9.9.9");
        check("10.0.0.1", &["1.1.1.1"], &["10.0.0.0/8"], "1.1.1.1");
        check("10.0.0.1", &["6.6.6.6, 1.1.1.1"], &["10.0.0.0/8"], "1.1.1.1");
        check("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.0.0.2"], &["10.0.0.0/8"], "1.1.1.1");
        check("10.0.0.1", &["6.6.6.6", "1.1.1.1"], &["10.0.0.0/8"], "1.1.1.1");
        check("10.0.0.1", &["nonsense"], &["10.0.0.0/8"], "10.0.0.1");
        check("10.0.0.1", &["10.0.0.3"], &["10.0.0.0/8"], "10.0.0.3");
        check("::ffff:10.0.0.1", &["fd00::7"], &["10.0.0.0/8"], "fd00::7");
    }
}
