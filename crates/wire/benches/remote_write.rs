//! What a remote write request costs before an ingester sees it: unpacking, decoding, hashing.
//!
//! 2,000 series a request, as a Kubernetes fleet sends them: ten labels and some 220 bytes of
//! label text each, one sample.

#![expect(clippy::unwrap_used, reason = "a benchmark")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::limits::Limits;
use std::hint::black_box;
use wire::proto::{Message, v1, v2};
use wire::remote_write::encode::{self, Symbols};
use wire::remote_write::{Decoder, Version, snappy};

const SERIES: usize = 2_000;
const T: i64 = 1_790_000_000_000;

/// The labels of the request, by series.
fn fleet() -> Vec<Vec<(String, String)>> {
    let bounds = [
        "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf",
    ];
    let handlers = [
        "/api/v1/orders",
        "/api/v1/cart/items",
        "/healthz",
        "/api/v1/checkout",
    ];
    let own = |(name, value): (&str, String)| (name.to_owned(), value);
    let mut series = Vec::new();
    for i in 0..SERIES {
        let target = i / 250;
        let pod = format!("checkout-7d9c5b{target:04x}-x{:04x}", target * 7919);
        let metric = match i % 250 {
            0..120 => "http_server_request_duration_seconds_bucket",
            120..180 => "grpc_server_handled_total",
            _ => "process_runtime_memory_heap_bytes",
        };
        let labels = [
            ("__name__", metric.to_owned()),
            ("cluster", "prod-eu-1".to_owned()),
            ("code", ["200", "201", "404", "500"][i / 12 % 4].to_owned()),
            ("handler", handlers[i / 48 % 4].to_owned()),
            ("instance", format!("10.42.{}.{}:8080", target, target * 3)),
            ("job", "shop/checkout".to_owned()),
            ("le", bounds[i % 12].to_owned()),
            ("namespace", "shop".to_owned()),
            ("pod", pod),
            ("replica_set", format!("checkout-{i:06}")),
        ];
        series.push(labels.into_iter().map(own).collect());
    }
    series
}

fn request_v1() -> Vec<u8> {
    let one = |(i, labels): (usize, Vec<(String, String)>)| v1::TimeSeries {
        labels: labels
            .into_iter()
            .map(|(name, value)| v1::Label { name, value })
            .collect(),
        samples: vec![v1::Sample {
            value: i as f64 + 0.25,
            timestamp: T,
        }],
        ..v1::TimeSeries::default()
    };
    let timeseries = fleet().into_iter().enumerate().map(one).collect();
    let request = v1::WriteRequest {
        timeseries,
        metadata: Vec::new(),
    };
    request.encode_to_vec()
}

fn request_v2() -> Vec<u8> {
    let mut symbols = Symbols::default();
    let one = |(i, labels): (usize, Vec<(String, String)>)| v2::TimeSeries {
        labels_refs: symbols.places(labels.iter().map(|(n, v)| (n.as_str(), v.as_str()))),
        samples: vec![v2::Sample {
            value: i as f64 + 0.25,
            timestamp: T,
            start_timestamp: 0,
        }],
        metadata: Some(v2::Metadata {
            r#type: 1,
            ..v2::Metadata::default()
        }),
        ..v2::TimeSeries::default()
    };
    let timeseries = fleet().into_iter().enumerate().map(one).collect();
    let request = v2::Request {
        timeseries,
        symbols: symbols.into_texts(),
    };
    request.encode_to_vec()
}

fn remote_write(criterion: &mut Criterion) {
    let text: usize = fleet()
        .iter()
        .flatten()
        .map(|(n, v)| n.len() + v.len())
        .sum();
    let labels = text / SERIES;
    let mut group = criterion.benchmark_group(format!("remote_write/{labels}_bytes_of_labels"));
    group.throughput(Throughput::Elements(SERIES as u64));
    let limits = Limits::default();
    for (version, body) in [(Version::V1, request_v1()), (Version::V2, request_v2())] {
        let mut decoder = Decoder::default();
        group.bench_function(format!("{version:?}/decode"), |bencher| {
            bencher.iter(|| {
                let body = black_box(body.as_slice());
                let rows = decoder.decode(version, body, 64 << 20, &limits, |decoded| {
                    assert!(decoded.rejected.first.is_none());
                    decoded.batch.series.len()
                });
                assert_eq!(rows.unwrap(), SERIES);
            });
        });
        let packed = encode::compress(&body);
        let mut memory = Vec::new();
        group.bench_function(format!("{version:?}/snappy"), |bencher| {
            bencher.iter(|| {
                let unpacked = snappy::decompress(black_box(&packed), 64 << 20, &mut memory);
                unpacked.unwrap().len()
            });
        });
    }
    let body = request_v1();
    group.bench_function("V1/prost", |bencher| {
        bencher.iter(|| {
            v1::WriteRequest::decode(black_box(body.as_slice()))
                .unwrap()
                .timeseries
                .len()
        });
    });
    group.finish();
}

criterion_group!(benches, remote_write);
criterion_main!(benches);
