//! The words of `tidemark bucket` and `tidemark catalog`.

use model::tenant::TenantId;

use super::{BucketCommand, Verb};

/// Flags that only these commands have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `--tenant`.
    pub(crate) tenant: Option<String>,
    /// `--json`.
    pub(crate) json: bool,
}

/// What the words ask for; `None` where they ask for something else than the bucket.
pub(crate) fn understand(words: &[&str], flags: &Flags) -> Option<Result<BucketCommand, String>> {
    let block = |id: &str| match block::ulid::time_ms(id) {
        Some(_) => Ok(id.to_owned()),
        None => Err(format!(
            "{id:?} is no id of a block; `tidemark bucket ls` lists them"
        )),
    };
    let verb = match words {
        ["bucket", "ls"] => Ok(Verb::List { json: flags.json }),
        ["bucket", "inspect", id] => block(id).map(|block| Verb::Inspect { block }),
        ["bucket", "verify"] => Ok(Verb::Verify { block: None }),
        ["bucket", "verify", id] => block(id).map(|id| Verb::Verify { block: Some(id) }),
        ["bucket", "cat", id] => block(id).map(|block| Verb::Cat {
            block,
            selector: None,
        }),
        ["bucket", "cat", id, selector] => block(id).map(|block| Verb::Cat {
            block,
            selector: Some((*selector).to_owned()),
        }),
        ["bucket", "remove", id] => block(id).map(|block| Verb::Remove { block }),
        ["catalog", "rebuild"] => Ok(Verb::Rebuild),
        ["bucket" | "catalog", ..] => Err(format!(
            "unknown command {:?}; there are `bucket ls`, `bucket inspect BLOCK`, \
             `bucket verify [BLOCK]`, `bucket cat BLOCK [SELECTOR]`, `bucket remove BLOCK` and \
             `catalog rebuild`",
            words.join(" ")
        )),
        _ => return None,
    };
    Some(verb.and_then(|verb| {
        if flags.json && !matches!(verb, Verb::List { .. }) {
            return Err("--json is for `bucket ls`".to_owned());
        }
        let tenant = flags.tenant.as_deref().map(TenantId::new);
        let tenant = tenant.transpose();
        let tenant = tenant.map_err(|error| format!("--tenant: {error}"))?;
        Ok(BucketCommand { verb, tenant })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

    #[test]
    fn understands_the_commands() {
        let check = |words: &[&str], verb: Verb| {
            let command = understand(words, &Flags::default()).unwrap().unwrap();
            assert_eq!(command, BucketCommand { verb, tenant: None });
        };
        let block = ID.to_owned();
        check(&["bucket", "ls"], Verb::List { json: false });
        check(&["bucket", "verify"], Verb::Verify { block: None });
        check(
            &["bucket", "verify", ID],
            Verb::Verify {
                block: Some(block.clone()),
            },
        );
        check(&["catalog", "rebuild"], Verb::Rebuild);
        let selector = "up{job='a'}".to_owned();
        check(
            &["bucket", "cat", ID, &selector],
            Verb::Cat {
                block: block.clone(),
                selector: Some(selector.clone()),
            },
        );
        let selector = None;
        check(&["bucket", "cat", ID], Verb::Cat { block, selector });
        assert!(understand(&["config", "check"], &Flags::default()).is_none());
    }

    #[test]
    fn refuses_with_the_remedy() {
        let check = |words: &[&str], flags: Flags, part: &str| {
            let error = understand(words, &flags).unwrap().unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        let none = Flags::default;
        let json = Flags {
            json: true,
            ..none()
        };
        let bad = Flags {
            tenant: Some("a/b".to_owned()),
            ..none()
        };
        check(&["bucket"], none(), "bucket verify [BLOCK]");
        check(&["bucket", "inspect"], none(), "bucket inspect BLOCK");
        check(&["bucket", "inspect", "../x"], none(), "bucket ls");
        check(&["bucket", "verify"], json, "--json");
        check(&["bucket", "ls"], bad, "--tenant");
    }
}
