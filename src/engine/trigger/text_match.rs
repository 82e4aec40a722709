//! Ways to compare text: ignoring case, with wildcards, as an address in a network. None takes more than linear time.

use core::net::IpAddr;
use std::sync::Arc;

use memchr::memmem;

use crate::engine::limits;

/// Text without its case, character by character, so that the fold of a prefix is a prefix of the fold.
pub(super) fn fold(text: &str) -> String {
    folded(text).collect()
}

fn folded(text: &str) -> impl DoubleEndedIterator<Item = char> + '_ {
    text.chars().flat_map(char::to_lowercase)
}

/// Whether `text` is `folded_text` but for case.
pub(super) fn equals_folded(text: &str, folded_text: &str) -> bool {
    folded(text).eq(folded_text.chars())
}

/// Whether `text` starts with `folded_prefix` but for case.
pub(super) fn starts_with_folded(text: &str, folded_prefix: &str) -> bool {
    let mut characters = folded(text);
    folded_prefix.chars().all(|expected| characters.next() == Some(expected))
}

/// Whether `text` ends with `folded_suffix` but for case.
pub(super) fn ends_with_folded(text: &str, folded_suffix: &str) -> bool {
    let mut characters = folded(text).rev();
    folded_suffix.chars().rev().all(|expected| characters.next() == Some(expected))
}

/// Text in which `*` stands for any run of characters, the empty one too. `\*` is a star, `\\` a backslash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wildcard {
    source: Arc<str>,
    /// What stands between the stars; the first and the last are anchored.
    parts: Box<[Box<str>]>,
}

impl Wildcard {
    /// Reads a wildcard; an error says what is wrong and what would be right.
    pub fn parse(source: &str) -> Result<Wildcard, String> {
        let mut parts: Vec<Box<str>> = Vec::new();
        let mut part = String::new();
        let mut characters = source.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '*' if characters.peek() == Some(&'*') => {
                    return Err("two wildcards in a row mean the same as one; write a single `*`".into());
                }
                '*' => parts.push(std::mem::take(&mut part).into()),
                '\\' => match characters.next() {
                    Some(escaped @ ('*' | '\\')) => part.push(escaped),
                    _ => return Err(r"a backslash must be followed by `*` or `\`; write `\\` for a backslash".into()),
                },
                other => part.push(other),
            }
        }
        let stars = parts.len();
        parts.push(part.into());
        if stars > limits::STARS_PER_WILDCARD {
            return Err(format!("{stars} wildcards in one text; at most {} are allowed", limits::STARS_PER_WILDCARD));
        }
        Ok(Wildcard { source: source.into(), parts: parts.into() })
    }

    /// What a matching text must start with.
    pub fn prefix(&self) -> &str {
        self.parts.first().map_or("", |part| part)
    }

    /// What a matching text must end with.
    pub fn suffix(&self) -> &str {
        self.parts.last().map_or("", |part| part)
    }

    /// Whether `text` fits. Taking each part at its first place leaves most room for the rest, so nothing is tried twice.
    pub fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = &*self.parts else { return text == self.prefix() };
        let Some(rest) = text.strip_prefix(&**first) else { return false };
        let Some(rest) = rest.strip_suffix(&**last) else { return false };
        let mut rest = rest.as_bytes();
        for part in middle {
            let Some(at) = memmem::find(rest, part.as_bytes()) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

impl std::fmt::Display for Wildcard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?}", self.source)
    }
}

/// A network of IP addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Network {
    /// Which family, and how many leading bits are fixed.
    pub width: NetworkWidth,
    /// The fixed bits of the address, at the top; the rest is zero.
    pub bits: u128,
}

/// How large a network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NetworkWidth {
    pub is_v6: bool,
    /// Fixed leading bits.
    pub prefix: u8,
}

impl Network {
    /// Reads `ADDRESS/BITS`; an error says what is wrong and what would be right.
    pub fn parse(text: &str) -> Result<Network, String> {
        let right = "write an address and the number of fixed bits, as in \"10.0.0.0/8\" or \"2001:db8::/32\"";
        let (address, prefix) = text.split_once('/').ok_or_else(|| format!("{text:?} is no network; {right}"))?;
        let address: IpAddr = address.parse().map_err(|_| format!("{address:?} is no IP address; {right}"))?;
        let most = if address.is_ipv6() { 128 } else { 32 };
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: Option<u8> = prefix.parse().ok().filter(|it| digits && *it <= most);
        let prefix = prefix.ok_or_else(|| format!("the bits after `/` must be a number from 0 to {most}; {right}"))?;
        Ok(Network::around(address, NetworkWidth { is_v6: address.is_ipv6(), prefix }))
    }

    /// The network of that width in which `address` lies, which must be of the same family.
    pub fn around(address: IpAddr, width: NetworkWidth) -> Network {
        let bits = match address {
            IpAddr::V4(it) => u128::from(it.to_bits()) << 96,
            IpAddr::V6(it) => it.to_bits(),
        };
        let mask = u128::MAX.checked_shl(128 - u32::from(width.prefix)).unwrap_or(0);
        Network { width, bits: bits & mask }
    }

    /// Whether `text` is an address in the network.
    pub fn contains(&self, text: &str) -> bool {
        text.parse::<IpAddr>()
            .is_ok_and(|it| it.is_ipv6() == self.width.is_v6 && Network::around(it, self.width) == *self)
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address =
            if self.width.is_v6 { IpAddr::V6(self.bits.into()) } else { IpAddr::V4(((self.bits >> 96) as u32).into()) };
        write!(formatter, "\"{address}/{}\"", self.width.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_wildcard(pattern: &str, text: &str, expected: bool) {
        assert_eq!(Wildcard::parse(pattern).unwrap().matches(text), expected, "{pattern} on {text}");
    }

    #[test]
    fn wildcards_stand_for_any_run_of_characters() {
        check_wildcard("*", "", true);
        check_wildcard("a*", "a", true);
        check_wildcard("a*a", "a", false);
        check_wildcard("a*a", "aa", true);
        check_wildcard("a*b*c", "axxbyyc", true);
        check_wildcard("a*b*c", "axxcyyb", false);
        check_wildcard("*.jpg", "ä.jpg", true);
        check_wildcard("no stars", "no stars", true);
        check_wildcard("no stars", "no stars at all", false);
        check_wildcard(r"a\*b", "a*b", true);
        check_wildcard(r"a\*b", "axb", false);
        check_wildcard(r"a\\*", r"a\x", true);
    }

    #[test]
    fn wildcards_take_linear_time() {
        let text = "a".repeat(1_000_000);
        check_wildcard("*a*a*a*a*a*a*a*ab*", &text, false);
    }

    #[test]
    fn networks_hold_their_addresses() {
        #[track_caller]
        fn check(network: &str, address: &str, expected: bool) {
            assert_eq!(Network::parse(network).unwrap().contains(address), expected, "{address} in {network}");
        }
        check("10.0.0.0/24", "10.0.0.255", true);
        check("10.0.0.0/24", "10.0.1.0", false);
        check("10.0.0.7/24", "10.0.0.1", true);
        check("0.0.0.0/0", "255.1.2.3", true);
        check("0.0.0.0/0", "::1", false);
        check("2001:db8::/32", "2001:db8:1::", true);
        check("2001:db8::/128", "2001:db8::1", false);
        check("10.0.0.0/24", "not an address", false);
        for wrong in ["10.0.0.0", "10.0.0/8", "10.0.0.0/33", "::/129", "::/", "::/+1"] {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
    }
}
