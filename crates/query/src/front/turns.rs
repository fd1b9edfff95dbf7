//! Fair turns: so many queries run at once, of each tenant so many; the rest wait in a bounded
//! queue per tenant, and tenants are served one after the other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use model::limits::Limits;
use model::tenant::TenantId;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Hands out turns.
#[derive(Debug)]
pub struct Turns {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Turns nobody has.
    free: usize,
    tenants: HashMap<TenantId, Line>,
    /// Tenants that have someone waiting, the next to be served first.
    order: VecDeque<TenantId>,
}

/// One tenant's share.
#[derive(Debug, Default)]
struct Line {
    running: usize,
    max_running: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
    /// Whether the tenant stands in `order`.
    in_order: bool,
}

/// The right to run one query; given back when dropped.
#[derive(Debug)]
pub struct Turn {
    /// `None` once it has been given back.
    turns: Option<Arc<Turns>>,
    tenant: TenantId,
}

/// Too many queries of the tenant are waiting already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "too many outstanding requests: {waiting} queries of tenant {tenant} are waiting, the limit \
     max_outstanding_queries is {limit}; try again later, or raise the limit"
)]
pub struct Refused {
    tenant: TenantId,
    waiting: usize,
    limit: usize,
}

impl Turns {
    /// So many queries may run at once, of all tenants together.
    pub fn new(at_once: usize) -> Arc<Self> {
        let state = State {
            free: at_once.max(1),
            tenants: HashMap::new(),
            order: VecDeque::new(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
        })
    }

    /// Waits for a turn. A caller that is dropped while it waits leaves the queue.
    ///
    /// # Errors
    /// Where the tenant's queue is full.
    pub async fn take(
        self: &Arc<Self>,
        tenant: &TenantId,
        limits: &Limits,
    ) -> Result<Turn, Refused> {
        let waits = {
            let mut state = self.state.lock();
            let state = &mut *state;
            let line = state.tenants.entry(tenant.clone()).or_default();
            line.max_running = limits.max_concurrent_queries.max(1);
            line.waiting.retain(|ticket| !ticket.is_closed());
            if state.free > 0 && line.running < line.max_running && line.waiting.is_empty() {
                state.free -= 1;
                line.running += 1;
                return Ok(self.turn(tenant));
            }
            if line.waiting.len() >= limits.max_outstanding_queries {
                return Err(Refused {
                    tenant: tenant.clone(),
                    waiting: line.waiting.len(),
                    limit: limits.max_outstanding_queries,
                });
            }
            let (call, waits) = oneshot::channel();
            line.waiting.push_back(call);
            if !line.in_order {
                line.in_order = true;
                state.order.push_back(tenant.clone());
            }
            waits
        };
        Ok(waits
            .await
            .expect("a ticket leaves the queue by being called, or after its owner"))
    }

    /// How many queries run, and how many wait.
    pub fn load(&self) -> (usize, usize) {
        let state = self.state.lock();
        let open = |line: &Line| line.waiting.iter().filter(|t| !t.is_closed()).count();
        let running = state.tenants.values().map(|line| line.running).sum();
        (running, state.tenants.values().map(open).sum())
    }

    fn turn(self: &Arc<Self>, tenant: &TenantId) -> Turn {
        Turn {
            turns: Some(Arc::clone(self)),
            tenant: tenant.clone(),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.give_back(&self.tenant);
        }
    }
}

impl Turns {
    fn give_back(self: &Arc<Self>, tenant: &TenantId) {
        let mut state = self.state.lock();
        state.free += 1;
        if let Some(line) = state.tenants.get_mut(tenant) {
            line.running -= 1;
        }
        while state.free > 0 {
            let Some((tenant, call)) = state.next() else {
                break;
            };
            if let Err(mut turn) = call.send(self.turn(&tenant)) {
                // Who waited has gone in this moment: undone here, as dropping the turn would
                // take the lock again.
                turn.turns = None;
                state.free += 1;
                if let Some(line) = state.tenants.get_mut(&tenant) {
                    line.running -= 1;
                }
            }
        }
        let State { tenants, order, .. } = &mut *state;
        tenants.retain(|_, line| line.running > 0 || !line.waiting.is_empty());
        // Who comes back stands in the order once, not also at its old place.
        order.retain(|tenant| tenants.contains_key(tenant));
    }
}

impl State {
    /// Takes the next ticket that may run now, and counts it as running.
    fn next(&mut self) -> Option<(TenantId, oneshot::Sender<Turn>)> {
        for _ in 0..self.order.len() {
            let tenant = self.order.pop_front()?;
            let Some(line) = self.tenants.get_mut(&tenant) else {
                continue;
            };
            line.waiting.retain(|ticket| !ticket.is_closed());
            if line.waiting.is_empty() {
                line.in_order = false;
                continue;
            }
            // At its own limit: it keeps its place until one of its queries ends.
            self.order.push_back(tenant.clone());
            if line.running < line.max_running
                && let Some(call) = line.waiting.pop_front()
            {
                line.running += 1;
                self.free -= 1;
                return Some((tenant, call));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(running: usize, waiting: usize) -> Limits {
        Limits {
            max_concurrent_queries: running,
            max_outstanding_queries: waiting,
            ..Limits::default()
        }
    }

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    /// A waiter that has been polled once, so that it stands in the queue.
    async fn wait(
        turns: &Arc<Turns>,
        name: &str,
        limits: &Limits,
    ) -> tokio::task::JoinHandle<Result<Turn, Refused>> {
        let (turns, tenant, limits) = (Arc::clone(turns), tenant(name), limits.clone());
        #[expect(clippy::disallowed_methods, reason = "the test joins it")]
        let task = tokio::spawn(async move { turns.take(&tenant, &limits).await });
        tokio::task::yield_now().await;
        task
    }

    #[tokio::test]
    async fn tenants_are_served_in_turn() {
        let (turns, limits) = (Turns::new(1), limits(5, 5));
        let first = turns.take(&tenant("a"), &limits).await.unwrap();
        let a2 = wait(&turns, "a", &limits).await;
        let a3 = wait(&turns, "a", &limits).await;
        let b1 = wait(&turns, "b", &limits).await;
        assert_eq!(turns.load(), (1, 3));
        drop(first);
        let turn = a2.await.unwrap().unwrap();
        assert!(!a3.is_finished() && !b1.is_finished());
        drop(turn);
        let turn = b1.await.unwrap().unwrap();
        assert!(!a3.is_finished());
        drop(turn);
        drop(a3.await.unwrap().unwrap());
        assert_eq!(turns.load(), (0, 0));
    }

    #[tokio::test]
    async fn a_tenant_has_its_own_bounds() {
        let (turns, limits) = (Turns::new(10), limits(1, 1));
        let running = turns.take(&tenant("a"), &limits).await.unwrap();
        let waiting = wait(&turns, "a", &limits).await;
        let refused = turns.take(&tenant("a"), &limits).await.unwrap_err();
        assert!(
            refused.to_string().contains("max_outstanding_queries is 1"),
            "{refused}"
        );
        // Another tenant is not held up.
        drop(turns.take(&tenant("b"), &limits).await.unwrap());
        drop(running);
        drop(waiting.await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn a_tenant_stands_in_the_order_once() {
        let (turns, limits) = (Turns::new(1), limits(5, 5));
        for _ in 0..3 {
            let running = turns.take(&tenant("a"), &limits).await.unwrap();
            let waiting = wait(&turns, "a", &limits).await;
            assert_eq!(turns.state.lock().order.len(), 1);
            drop(running);
            drop(waiting.await.unwrap().unwrap());
            let state = turns.state.lock();
            assert!(state.order.is_empty() && state.tenants.is_empty());
        }
    }

    #[tokio::test]
    async fn who_goes_away_leaves_the_queue() {
        let (turns, limits) = (Turns::new(1), limits(1, 1));
        let running = turns.take(&tenant("a"), &limits).await.unwrap();
        let gone = wait(&turns, "a", &limits).await;
        gone.abort();
        assert!(gone.await.is_err());
        let waiting = wait(&turns, "a", &limits).await;
        drop(running);
        drop(waiting.await.unwrap().unwrap());
        assert_eq!(turns.load(), (0, 0));
    }
}
