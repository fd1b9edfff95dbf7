//! Buckets of Azure: the same demands as of a folder, and what is said where keys or the container
//! are wrong.

use block::bucket::{Bucket, BucketConfig, Secret, suite};
use tests::servers::Azurite;

fn config(server: &Azurite, url: &str) -> BucketConfig {
    BucketConfig {
        url: url.to_owned(),
        endpoint: server.endpoint(),
        access_key_id: Azurite::ACCOUNT.to_owned(),
        secret_access_key: Secret(Azurite::KEY.to_owned()),
        ..BucketConfig::default()
    }
}

#[test]
fn an_azure_server_does_what_a_folder_does_and_denies_a_wrong_key() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Azurite::start("object_storage", folder.path()) else {
        return;
    };
    let bucket = Bucket::open(&config(&server, "az://blocks/some/prefix")).unwrap();
    suite::check(&bucket, folder.path());
    let whole = Bucket::open(&config(&server, "az://blocks")).unwrap();
    assert_eq!(whole.list_folders("").unwrap(), ["some"]);

    let missing = Bucket::open(&config(&server, "az://not-there")).unwrap();
    let error = missing.check("1").unwrap_err();
    assert!(error.is_not_found(), "{error}");

    let wrong = BucketConfig {
        secret_access_key: Secret("aHVzaC1odXNo".to_owned()),
        ..config(&server, "az://blocks/some/prefix")
    };
    let bucket = Bucket::open(&wrong).unwrap();
    let errors = [
        bucket.check("1").unwrap_err(),
        bucket.get("t/large", 1 << 30).unwrap_err(),
        bucket.get_ranges("t/large", &[0..4, 4..9]).unwrap_err(),
        bucket.list("t", 10).unwrap_err(),
        bucket.list_folders("").unwrap_err(),
        bucket.delete("t/large").unwrap_err(),
    ];
    for error in &errors {
        let text = error.to_string();
        assert!(error.is_denied(), "{text}");
        for part in [
            "az://blocks/some/prefix",
            "access is denied",
            "check the keys",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
        assert!(!text.contains("aHVzaC1odXNo"), "{text}");
    }
    assert_eq!(bucket.requests(), errors.len() as u64);

    let no_key = BucketConfig {
        secret_access_key: Secret("hush-hush".to_owned()),
        ..config(&server, "az://blocks")
    };
    let error = Bucket::open(&no_key).unwrap_err().to_string();
    assert!(
        error.contains("az://blocks") && !error.contains("hush"),
        "{error}"
    );
}
