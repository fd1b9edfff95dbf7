//! Damage is an error or without effect.

use std::fs;
use std::sync::Arc;

use block::Block;
use model::error::ErrorKind;
use model::select::LookupBounds;
use model::time::TimeRange;

use crate::exemplars::{exemplars_of, exemplars_text, write_with_exemplars};
use crate::series::{HOUR, ID, Series, mixed, request, select, shown, spec};

/// Each byte of each file, in one way or another: an error, or the same answer.
#[test]
fn damage_is_an_error_or_without_effect() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(ID);
    let series: Vec<Series> = mixed(2).into_iter().step_by(5).collect();
    let exemplars = exemplars_of(&series);
    let meta = write_with_exemplars(&path, spec(HOUR, 2), &series, &exemplars);
    let expected = shown(&series, TimeRange::all());
    let expected_exemplars = exemplars_text(&exemplars);
    for file in &meta.files {
        let whole = fs::read(path.join(&file.name)).unwrap();
        let step = (whole.len() / 150).max(1);
        for at in (0..whole.len())
            .step_by(step)
            .chain(whole.len() - 12..whole.len())
        {
            let mut bad = whole.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(path.join(&file.name), &bad).unwrap();
            let read = Block::open(&path)
                .map_err(|e| e.to_string())
                .and_then(|block| {
                    let error = block.verify().unwrap_err();
                    assert!(
                        error.to_string().contains(ID) && error.to_string().contains(&file.name)
                    );
                    let bounds = LookupBounds::default();
                    if let Ok(found) = block.exemplars(&[], TimeRange::all(), &bounds) {
                        assert_eq!(exemplars_text(&found), expected_exemplars);
                    }
                    select(&Arc::new(block), &request(Vec::new(), TimeRange::all()))
                });
            if let Ok(found) = read {
                assert_eq!(
                    shown(&found, TimeRange::all()),
                    expected,
                    "{} at {at}",
                    file.name
                );
            }
        }
        for length in [0, 4, whole.len() / 2, whole.len() - 1] {
            fs::write(path.join(&file.name), &whole[..length]).unwrap();
            let error = Block::open(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
        fs::remove_file(path.join(&file.name)).unwrap();
        let error = Block::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        fs::write(path.join(&file.name), &whole).unwrap();
    }
    Block::open(&path).unwrap().verify().unwrap();
}
