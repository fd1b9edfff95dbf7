//! The protobuf wire format, as little of it as remote write needs: a cursor over borrowed bytes.
//!
//! Groups are refused: no message of ours has ever had one, and skipping them needs recursion.

/// Why bytes are not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the message ends within a field")]
    Truncated,
    #[error("a varint is longer than 64 bits")]
    VarintOverflow,
    #[error("a field number is 0 or above 536870911")]
    FieldNumber,
    #[error("a field has a group or unknown wire type")]
    WireType,
    #[error("field {0} has a wire type that is not its own")]
    UnexpectedWireType(u32),
}

/// How a field's value lies on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Varint,
    Fixed64,
    Bytes,
    Fixed32,
}

/// What is left of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        match *self.rest {
            [first, ref rest @ ..] if first < 0x80 => {
                self.rest = rest;
                Ok(u64::from(first))
            }
            [first, second, ref rest @ ..] if second < 0x80 => {
                self.rest = rest;
                Ok(u64::from(first & 0x7f) | u64::from(second) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (i, &byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                if i == 9 && byte > 1 {
                    return Err(Malformed::VarintOverflow);
                }
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 {
            Malformed::Truncated
        } else {
            Malformed::VarintOverflow
        })
    }

    /// The next field's number and wire type; `None` at the end of the message.
    #[inline(always)]
    pub(crate) fn field(&mut self) -> Result<Option<(u32, Wire)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let wire = match key & 7 {
            0 => Wire::Varint,
            1 => Wire::Fixed64,
            2 => Wire::Bytes,
            5 => Wire::Fixed32,
            _ => return Err(Malformed::WireType),
        };
        match u32::try_from(key) {
            Ok(key) if key >= 8 => Ok(Some((key >> 3, wire))),
            _ => Err(Malformed::FieldNumber),
        }
    }

    #[inline(always)]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.varint()?;
        if len > self.rest.len() as u64 {
            return Err(Malformed::Truncated);
        }
        let (bytes, rest) = self.rest.split_at(len as usize);
        self.rest = rest;
        Ok(bytes)
    }

    #[inline(always)]
    pub(crate) fn fixed64(&mut self) -> Result<u64, Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// Passes over the value of a field nobody asked for.
    pub(crate) fn skip(&mut self, wire: Wire) -> Result<(), Malformed> {
        match wire {
            Wire::Varint => self.varint().map(drop),
            Wire::Fixed64 => self.fixed64().map(drop),
            Wire::Bytes => self.bytes().map(drop),
            Wire::Fixed32 => {
                let rest = self.rest.get(4..).ok_or(Malformed::Truncated)?;
                self.rest = rest;
                Ok(())
            }
        }
    }
}

/// Refuses a known field that has another field's wire type.
#[inline(always)]
pub(crate) fn expect(field: u32, wire: Wire, expected: Wire) -> Result<(), Malformed> {
    if wire == expected {
        Ok(())
    } else {
        Err(Malformed::UnexpectedWireType(field))
    }
}

/// The signed number behind a zigzag varint.
#[inline]
pub(crate) fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_varints_of_every_length_and_refuses_longer_ones() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                prost::encoding::encode_varint(value, &mut bytes);
                let mut reader = Reader::new(&bytes);
                assert_eq!(reader.varint(), Ok(value));
                assert!(reader.is_empty());
                for cut in 0..bytes.len() {
                    let cut = Reader::new(&bytes[..cut]).varint();
                    assert_eq!(cut, Err(Malformed::Truncated));
                }
            }
        }
        let mut over = [0xff; 10];
        over[9] = 2;
        assert_eq!(Reader::new(&over).varint(), Err(Malformed::VarintOverflow));
        let endless = [0x80; 11];
        assert_eq!(
            Reader::new(&endless).varint(),
            Err(Malformed::VarintOverflow)
        );
    }

    #[test]
    fn refuses_groups_and_field_zero() {
        for key in [0x0b, 0x0c, 0x0e, 0x0f] {
            assert_eq!(Reader::new(&[key, 0]).field(), Err(Malformed::WireType));
        }
        assert_eq!(Reader::new(&[0x02]).field(), Err(Malformed::FieldNumber));
        let big = [0xfa, 0xff, 0xff, 0xff, 0x1f];
        assert_eq!(Reader::new(&big).field(), Err(Malformed::FieldNumber));
    }

    #[test]
    fn undoes_zigzag() {
        for value in [0, 1, -1, 7, i64::MAX, i64::MIN] {
            let mapped = ((value << 1) ^ (value >> 63)) as u64;
            assert_eq!(zigzag(mapped), value);
        }
    }
}
