//! An address, or a range of them.

use std::net::IpAddr;
use std::str::FromStr;

use sandkeep_core::code::{ErrorCode, Problem};

/// `10.0.0.0/8`, `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether `address` is in it. An IPv4 address that came as IPv6 is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let width = width(self.address);
        let address = address.to_canonical();
        width == self::width(address) && prefix(self.address, self.bits) == prefix(address, self.bits)
    }
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The first `bits` bits.
fn prefix(address: IpAddr, bits: u8) -> u128 {
    let value = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    value.checked_shr(u32::from(width(address) - bits)).unwrap_or(0)
}

impl FromStr for Network {
    type Err = Problem;

    /// # Errors
    /// `config_invalid`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let read = || {
            let (address, bits) = match text.split_once('/') {
                Some((address, bits)) => (address.parse().ok()?, bits.parse().ok()?),
                None => {
                    let address: IpAddr = text.parse().ok()?;
                    (address, width(address))
                }
            };
            (bits <= width(address)).then_some(Network { address, bits })
        };
        read().ok_or_else(|| {
            let expected = "10.1.2.3, 10.0.0.0/8 or fd00::/8";
            Problem::refused(ErrorCode::ConfigInvalid, text, "is not an address or a range", expected)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_what_begins_like_them() {
        let cases = [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
        ];
        for (network, address, expected) in cases {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network:?} {address}");
        }
        for text in ["", "10", "10.0.0.0/33", "::/129", "10.0.0.0/", "a/8", "10.0.0.0/8/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
