//! Requests as clients send them: for tests, the harness and tools that write.
//!
//! The one value that does not survive is -0.0, which prost takes for 0 and leaves out.

use std::collections::HashMap;

use prost::Message;

/// The content type of a 1.0 request.
pub const CONTENT_TYPE_V1: &str = "application/x-protobuf";

/// The content type of a 2.0 request.
pub const CONTENT_TYPE_V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// A message as a request's body: protobuf in a snappy block.
pub fn body(message: &impl Message) -> Vec<u8> {
    compress(&message.encode_to_vec())
}

/// Bytes as a snappy block.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let packed = snap::raw::Encoder::new().compress_vec(bytes);
    packed.expect("no request comes near the 4 GiB that a snappy block may hold")
}

/// Gathers the distinct strings of a 2.0 request.
#[derive(Clone, Debug)]
pub struct Symbols {
    places: HashMap<String, u32>,
    texts: Vec<String>,
}

impl Default for Symbols {
    fn default() -> Self {
        let mut symbols = Self {
            places: HashMap::new(),
            texts: Vec::new(),
        };
        symbols.place("");
        symbols
    }
}

impl Symbols {
    /// The place of a string, which is added where it is new.
    pub fn place(&mut self, text: &str) -> u32 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.texts.len() as u32;
        self.places.insert(text.to_owned(), place);
        self.texts.push(text.to_owned());
        place
    }

    /// The references of labels, in the order given.
    pub fn places<'a>(&mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u32> {
        let pairs = labels.into_iter();
        pairs
            .flat_map(|(name, value)| [self.place(name), self.place(value)])
            .collect()
    }

    /// The strings, in the order of their places.
    pub fn into_texts(self) -> Vec<String> {
        self.texts
    }
}
