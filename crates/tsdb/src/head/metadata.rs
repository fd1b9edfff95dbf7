//! What is known about a tenant's metrics: type, help, unit.

use std::collections::BTreeMap;

use model::write::MetricMetadata;

/// Distinct descriptions kept of one metric: targets of several versions may disagree.
const MAX_PER_METRIC: usize = 5;

/// The descriptions of a tenant's metrics, the newest of each first.
#[derive(Default)]
pub(crate) struct MetadataStore {
    by_metric: BTreeMap<String, Vec<MetricMetadata>>,
}

impl MetadataStore {
    /// Whether this very description is the newest of its metric already.
    pub(crate) fn is_newest(&self, metadata: &MetricMetadata) -> bool {
        let known = self.by_metric.get(&metadata.metric);
        known.and_then(|all| all.first()) == Some(metadata)
    }

    /// Keeps a description; of more than `most` metrics, those that come later are dropped.
    pub(crate) fn set(&mut self, metadata: &MetricMetadata, most: usize) {
        let full = self.by_metric.len() >= most;
        if full && !self.by_metric.contains_key(&metadata.metric) {
            return;
        }
        let known = self.by_metric.entry(metadata.metric.clone()).or_default();
        known.retain(|other| other != metadata);
        known.insert(0, metadata.clone());
        known.truncate(MAX_PER_METRIC);
    }

    /// Whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_metric.is_empty()
    }

    /// The descriptions of one metric or of all, newest first within a metric.
    pub(crate) fn get(&self, metric: Option<&str>) -> Vec<MetricMetadata> {
        match metric {
            Some(metric) => self.by_metric.get(metric).cloned().unwrap_or_default(),
            None => self.by_metric.values().flatten().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_first_and_few() {
        let mut store = MetadataStore::default();
        let describe = |help: &str| MetricMetadata {
            metric: "up".to_owned(),
            help: help.to_owned(),
            ..MetricMetadata::default()
        };
        for help in ["1", "2", "3", "4", "5", "6", "4"] {
            store.set(&describe(help), 1);
        }
        assert!(store.is_newest(&describe("4")));
        let helps: Vec<_> = store.get(Some("up")).into_iter().map(|m| m.help).collect();
        assert_eq!(helps, ["4", "6", "5", "3", "2"]);
        let other = MetricMetadata {
            metric: "b".to_owned(),
            ..describe("x")
        };
        store.set(&other, 1);
        assert_eq!(store.get(None).len(), 5);
    }
}
