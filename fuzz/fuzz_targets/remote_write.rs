//! Any body, as either version: decoding never panics, and what it gives is what prost gives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::fingerprint::Fingerprint;
use model::labels::Labels;
use model::limits::Limits;
use model::write::LabelSource;
use wire::proto::{Message, v1, v2};
use wire::remote_write::{DecodeError, Decoded, Decoder, Version, snappy};

/// The rows with float samples: labels, then time, bits and start of each sample.
type Rows = Vec<(Vec<(String, String)>, Vec<(i64, u64, i64)>)>;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, body)) = bytes.split_first() else {
        return;
    };
    let mut memory = Vec::new();
    // Some inputs go through snappy first; most would not survive it.
    let body = match choice & 2 {
        0 => body,
        _ => match snappy::decompress(body, 1 << 20, &mut memory) {
            Ok(unpacked) => unpacked,
            Err(_) => return,
        },
    };
    let limits = Limits {
        max_label_names_per_series: 0,
        max_label_name_length: 0,
        max_label_value_length: 0,
        ..Limits::default()
    };
    let version = if choice & 1 == 0 {
        Version::V1
    } else {
        Version::V2
    };
    let expected = match version {
        Version::V1 => v1::WriteRequest::decode(body).map(|request| rows_v1(&request)),
        Version::V2 => v2::Request::decode(body).map(|request| rows_v2(&request)),
    };
    let found = Decoder::default().decode(version, body, 1 << 20, &limits, |decoded| {
        let text_is_utf8 = expected.is_ok();
        text_is_utf8.then(|| rows(decoded))
    });
    match (found, expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found, Some(expected)),
        // prost checks text at once, we when a series is new.
        (Ok(_), Err(error)) => assert!(error.to_string().contains("UTF-8"), "{error}"),
        // Groups are skipped by prost and refused by us.
        (Err(error), Ok(_)) => assert!(
            !matches!(&error, DecodeError::Protobuf { fault, .. } if !fault.contains("group")),
            "{error}"
        ),
        (Err(_), Err(_)) => {}
    }
});

fn rows(decoded: &Decoded<'_>) -> Rows {
    let batch = &decoded.batch;
    let mut from = 0;
    let mut rows = Vec::new();
    for row in &batch.series {
        let mut pairs = Vec::new();
        row.labels.for_each(&mut |name, value| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("as prost took it");
            pairs.push((text(name), text(value)));
        });
        let labels = Labels::from_pairs(pairs.iter().map(|(n, v)| (n, v)));
        assert_eq!(row.fingerprint, Fingerprint::of(&labels));
        let samples = &batch.samples[from..row.samples_end as usize];
        from = row.samples_end as usize;
        if !samples.is_empty() {
            let samples = samples.iter().map(|s| (s.t, s.v.to_bits(), s.start));
            rows.push((pairs, samples.collect()));
        }
    }
    rows
}

/// The labels of a row that is taken, without empty values.
fn sound(pairs: Vec<(String, String)>) -> Option<Vec<(String, String)>> {
    let sorted = pairs.windows(2).all(|two| two[0].0 < two[1].0);
    let nameless = pairs.iter().any(|(name, _)| name.is_empty());
    let kept: Vec<_> = pairs
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let named = kept.iter().any(|(name, _)| name == "__name__");
    (sorted && !nameless && named).then_some(kept)
}

fn rows_v1(request: &v1::WriteRequest) -> Rows {
    let mut rows = Vec::new();
    for series in &request.timeseries {
        let pairs = series
            .labels
            .iter()
            .map(|l| (l.name.clone(), l.value.clone()));
        let samples = series.samples.iter();
        let samples: Vec<_> = samples
            .map(|s| (s.timestamp, s.value.to_bits(), 0))
            .collect();
        if let Some(pairs) = sound(pairs.collect())
            && !samples.is_empty()
        {
            rows.push((pairs, samples));
        }
    }
    rows
}

fn rows_v2(request: &v2::Request) -> Rows {
    let mut rows = Vec::new();
    for series in &request.timeseries {
        let texts: Option<Vec<String>> = series
            .labels_refs
            .iter()
            .map(|place| request.symbols.get(*place as usize).cloned())
            .collect();
        let Some(texts) = texts.filter(|texts| texts.len() % 2 == 0) else {
            continue;
        };
        let pairs = texts
            .chunks(2)
            .map(|pair| (pair[0].clone(), pair[1].clone()));
        let start = |start| match start {
            0 => series.created_timestamp,
            start => start,
        };
        let samples: Vec<_> = series
            .samples
            .iter()
            .map(|s| (s.timestamp, s.value.to_bits(), start(s.start_timestamp)))
            .collect();
        if let Some(pairs) = sound(pairs.collect())
            && !samples.is_empty()
            && series.histograms.is_empty()
        {
            rows.push((pairs, samples));
        }
    }
    rows
}
