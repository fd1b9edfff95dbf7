//! Buckets of Google at an endpoint of one's own. What is asked of them is what Google's XML API
//! has in common with S3, so that an S3 server can answer it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use block::bucket::{Bucket, BucketConfig, Secret, suite};
use tests::servers;

use super::s3;

/// Prints the text of a service account with a new key.
const NEW_ACCOUNT: &str = "
import json
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)
account = {'client_email': 'a@example.com', 'private_key_id': '1', 'private_key': key.decode()}
print(json.dumps({'type': 'service_account', **account}))
";

#[test]
fn a_bucket_of_googles_at_an_endpoint_does_what_a_folder_does() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = s3(folder.path()) else {
        return;
    };
    let Some(python) = servers::python_with("object_storage", "cryptography") else {
        return;
    };
    let account = Command::new(python).args(["-c", NEW_ACCOUNT]).output();
    let account = String::from_utf8(account.unwrap().stdout).unwrap();
    let file = folder.path().join("account.json");
    std::fs::write(&file, account).unwrap();
    let open = |url: &str| {
        let config = BucketConfig {
            url: url.to_owned(),
            endpoint: server.endpoint() + "/",
            secret_access_key_file: file.clone(),
            ..BucketConfig::default()
        };
        Bucket::open(&config).unwrap()
    };
    suite::check(&open("gs://blocks/some/prefix"), folder.path());
    assert_eq!(open("gs://blocks").list_folders("").unwrap(), ["some"]);
    let error = open("gs://not-there").check("1").unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[test]
fn an_endpoint_of_googles_in_the_clear_is_asked_without_the_machines_token() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = BucketConfig {
        url: "gs://blocks/some/prefix".to_owned(),
        endpoint: format!("http://{}", listener.local_addr().unwrap()),
        ..BucketConfig::default()
    };
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        let answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
        client.write_all(answer).unwrap();
        String::from_utf8(head).unwrap().to_ascii_lowercase()
    });
    let bucket = Bucket::open(&config).unwrap();
    let error = bucket.get("key", 10).unwrap_err();
    assert!(error.is_denied(), "{error}");
    assert_eq!(bucket.requests(), 1);
    let head = server.join().unwrap();
    assert!(
        head.starts_with("get /blocks/some%2fprefix%2fkey http/1.1"),
        "{head}"
    );
    let token = head
        .lines()
        .find_map(|line| line.strip_prefix("authorization: bearer"));
    assert!(token.is_none_or(|token| token.trim().is_empty()), "{head}");
}

#[test]
fn a_service_account_that_is_none_is_refused_without_showing_it() {
    for text in [
        "hush-hush",
        "\"hush-hush\"",
        "{\"hush-hush\": 1}",
        "[\"hush-hush\"]",
    ] {
        let config = BucketConfig {
            url: "gs://blocks".to_owned(),
            secret_access_key: Secret(text.to_owned()),
            ..BucketConfig::default()
        };
        let error = Bucket::open(&config).unwrap_err().to_string();
        assert!(error.contains("gs://blocks"), "{error}");
        assert!(error.contains("service account"), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}
