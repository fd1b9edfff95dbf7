//! Writes Protocol Buffers by hand, so that a test can also write wrong ones.

/// A message that grows field by field.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// A number that is never negative (uint32, uint64, enum).
    #[must_use]
    pub fn uint(mut self, field: u32, value: u64) -> Self {
        self.key(field, 0);
        self.varint(value);
        self
    }

    /// A number in two's complement (int64).
    #[must_use]
    pub fn int(self, field: u32, value: i64) -> Self {
        self.uint(field, value as u64)
    }

    /// A number in zigzag form (sint32, sint64).
    #[must_use]
    pub fn sint(self, field: u32, value: i64) -> Self {
        self.uint(field, zigzag(value))
    }

    /// A double.
    #[must_use]
    pub fn double(mut self, field: u32, value: f64) -> Self {
        self.key(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A string, bytes, or an embedded message.
    #[must_use]
    pub fn bytes_field(mut self, field: u32, value: &[u8]) -> Self {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// An embedded message.
    #[must_use]
    pub fn message(self, field: u32, value: &Message) -> Self {
        self.bytes_field(field, value.bytes())
    }

    /// Packed numbers that are never negative.
    #[must_use]
    pub fn packed_uint(self, field: u32, values: impl IntoIterator<Item = u64>) -> Self {
        let mut packed = Message::default();
        for value in values {
            packed.varint(value);
        }
        self.message(field, &packed)
    }

    /// Packed numbers in zigzag form.
    #[must_use]
    pub fn packed_sint(self, field: u32, values: &[i64]) -> Self {
        self.packed_uint(field, values.iter().map(|value| zigzag(*value)))
    }

    /// Packed doubles.
    #[must_use]
    pub fn packed_double(self, field: u32, values: &[f64]) -> Self {
        let packed: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.bytes_field(field, &packed)
    }

    /// The key of a field; `wire_type` as the encoding numbers them.
    pub fn key(&mut self, field: u32, wire_type: u64) {
        self.varint(u64::from(field) << 3 | wire_type);
    }

    /// A bare number.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}
