//! How fast each tenant may write: a bucket of samples that fills at the tenant's rate.

use dashmap::DashMap;
use model::limits::Limits;
use model::tenant::TenantId;
use model::time::TimestampMs;

/// Tenants whose buckets are remembered before full ones are forgotten.
const REMEMBERED: usize = 10_000;

/// The buckets of all tenants that have a rate.
#[derive(Default)]
pub(crate) struct Rates {
    buckets: DashMap<TenantId, Bucket>,
}

/// What a tenant may still write. It may be below zero after a request larger than the burst,
/// which passes when the bucket is full, for no later time would be better.
struct Bucket {
    samples: f64,
    filled_ms: TimestampMs,
}

impl Rates {
    /// Takes samples from a tenant's bucket; false where it has not enough.
    pub(crate) fn take(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        samples: usize,
        now_ms: TimestampMs,
    ) -> bool {
        let rate = limits.ingestion_rate;
        if rate <= 0.0 {
            return true;
        }
        if self.buckets.len() >= REMEMBERED {
            // A bucket that is not full must stay; a second without a write fills most of them.
            self.buckets
                .retain(|_, bucket| now_ms - bucket.filled_ms < 60_000);
        }
        let burst = (limits.ingestion_burst_size as f64).max(1.0);
        let full = || Bucket {
            samples: burst,
            filled_ms: now_ms,
        };
        let mut bucket = self.buckets.entry(tenant.clone()).or_insert_with(full);
        let elapsed_s = now_ms.saturating_sub(bucket.filled_ms).max(0) as f64 / 1000.0;
        bucket.samples = (bucket.samples + elapsed_s * rate).min(burst);
        bucket.filled_ms = bucket.filled_ms.max(now_ms);
        let wanted = samples as f64;
        if bucket.samples < wanted.min(burst) {
            return false;
        }
        bucket.samples -= wanted;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_at_the_rate_up_to_the_burst() {
        let rates = Rates::default();
        let (a, b) = (TenantId::new("a").unwrap(), TenantId::new("b").unwrap());
        let limits = Limits {
            ingestion_rate: 10.0,
            ingestion_burst_size: 100,
            ..Limits::default()
        };
        let take = |tenant, samples, now| rates.take(tenant, &limits, samples, now);
        assert!(take(&a, 100, 0));
        assert!(!take(&a, 1, 0));
        assert!(take(&b, 100, 0), "each has a bucket of its own");
        assert!(take(&a, 10, 1_000));
        assert!(!take(&a, 10, 1_900));
        assert!(take(&a, 100, 60_000));
        // Larger than the burst: once the bucket is full, and then a debt is paid off.
        assert!(!take(&a, 150, 69_000));
        assert!(take(&a, 150, 70_000));
        assert!(!take(&a, 1, 75_000));
        assert!(take(&a, 1, 75_100));
        assert!(!take(&a, 100, 0), "a clock that went back fills nothing");
        let unlimited = Limits::default();
        assert!(rates.take(&a, &unlimited, usize::MAX, 0));
    }
}
