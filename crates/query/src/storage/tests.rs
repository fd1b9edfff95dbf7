//! Who is asked for which blocks, and in which order their answers come.

use block::merge::NoSeries;

use super::*;

/// Holds nothing, and answers with nothing.
struct Nothing;

impl BlockReadService for Nothing {
    fn holds(&self, _: &TenantId, _: &str) -> bool {
        false
    }

    fn select(
        &self,
        _: &TenantId,
        _: &[String],
        _: &SelectRequest,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        Ok(Box::new(NoSeries))
    }

    fn series(
        &self,
        _: &TenantId,
        _: &[String],
        _: &LookupRequest,
    ) -> Result<Vec<Labels>, SelectError> {
        Ok(Vec::new())
    }

    fn label_names(
        &self,
        _: &TenantId,
        _: &[String],
        _: &LookupRequest,
    ) -> Result<Vec<String>, SelectError> {
        Ok(Vec::new())
    }

    fn label_values(
        &self,
        _: &TenantId,
        _: &[String],
        _: &str,
        _: &LookupRequest,
    ) -> Result<Vec<String>, SelectError> {
        Ok(Vec::new())
    }

    fn exemplars(
        &self,
        _: &TenantId,
        _: &[String],
        _: &LookupRequest,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        Ok(Vec::new())
    }
}

fn blocks() -> Blocks {
    Blocks {
        near: vec!["near".to_owned()],
        far: vec!["far".to_owned()],
    }
}

#[test]
fn far_blocks_are_older_and_come_first() {
    let none = Skipped::default();
    let go_on = || Ok(());
    let ask = |_: &dyn BlockReadService, ids: &[String]| Ok(ids.to_vec());
    let answers = blocks().ask((&Nothing, &Nothing), &none, go_on, ask);
    let answers: Vec<_> = answers.unwrap().into_iter().collect();
    assert_eq!(answers, [["far"], ["near"]]);
    // What is not near any more is asked for far away.
    let gone = |_: &dyn BlockReadService, ids: &[String]| match ids {
        [id] if id == "near" => Err(failure(ErrorKind::NotFound)),
        ids => Ok(ids.to_vec()),
    };
    let answers = blocks().ask((&Nothing, &Nothing), &none, go_on, gone);
    let answers: Vec<_> = answers.unwrap().into_iter().collect();
    assert_eq!(answers, [["far", "near"]]);
}

fn failure(kind: ErrorKind) -> SelectError {
    SelectError {
        kind,
        message: "it burnt".to_owned(),
    }
}

#[test]
fn who_takes_a_part_gets_what_can_be_read() {
    let ask = |_: &dyn BlockReadService, ids: &[String]| match ids {
        [id] if id == "far" => Err(failure(ErrorKind::Unavailable)),
        ids => Ok(ids.to_vec()),
    };
    let services: (&dyn BlockReadService, &dyn BlockReadService) = (&Nothing, &Nothing);
    let failed = blocks().ask(services, &Skipped::default(), || Ok(()), ask);
    assert_eq!(failed.unwrap_err(), failure(ErrorKind::Unavailable));
    let skipped = Skipped::allowed();
    let answers = blocks().ask(services, &skipped, || Ok(()), ask).unwrap();
    let answers: Vec<_> = answers.into_iter().collect();
    assert_eq!(answers, [["near"]]);
    assert_eq!(
        skipped.texts(),
        ["partial answer, without the blocks in the bucket: it burnt"]
    );
    // Who waits no more is told so: that is no failure of storage.
    let stopped = || Err(failure(ErrorKind::TooMany));
    let skipped = Skipped::allowed();
    let failed = blocks().ask(services, &skipped, stopped, ask);
    assert_eq!(failed.unwrap_err(), failure(ErrorKind::TooMany));
    assert!(skipped.texts().is_empty());
}

#[test]
fn what_was_found_is_told_once_and_cut() {
    let head = Found {
        items: vec!["b", "d"],
        truncated: false,
    };
    let all = united(head.clone(), vec![vec!["a", "b"], vec!["c"]], 0);
    assert_eq!(
        (all.items, all.truncated),
        (vec!["a", "b", "c", "d"], false)
    );
    let cut = united(head, vec![vec!["a", "b"]], 2);
    assert_eq!((cut.items, cut.truncated), (vec!["a", "b"], true));
}
