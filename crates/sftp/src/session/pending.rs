//! Requests that wait for their replies.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::Loss;
use crate::protocol::Reply;

/// All requests that were sent and not answered, also those that nobody waits for any more: a
/// reply to one of them is known from a reply to nothing.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<u32, Waiting>,
    next_id: u32,
    /// Once set, no request waits.
    loss: Option<Loss>,
}

/// A request that waits for its reply.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) request: &'static str,
    pub(super) reply: oneshot::Sender<Reply>,
}

impl Pending {
    /// Gives a request its id, unless the session has ended.
    pub(super) fn register(
        &self,
        request: &'static str,
    ) -> Result<(u32, oneshot::Receiver<Reply>), Loss> {
        let mut state = self.state();
        if let Some(loss) = &state.loss {
            return Err(loss.clone());
        }
        let (reply, receiver) = oneshot::channel();
        loop {
            let id = state.next_id;
            state.next_id = id.wrapping_add(1);
            // After 4 billion requests an old one may still wait for its reply.
            if let Entry::Vacant(place) = state.waiting.entry(id) {
                place.insert(Waiting { request, reply });
                return Ok((id, receiver));
            }
        }
    }

    /// Returns the name of the request with this id.
    pub(super) fn request(&self, id: u32) -> Option<&'static str> {
        self.state().waiting.get(&id).map(|waiting| waiting.request)
    }

    pub(super) fn take(&self, id: u32) -> Option<Waiting> {
        self.state().waiting.remove(&id)
    }

    /// Ends all requests that wait and all that come. The first loss is the one that counts.
    pub(super) fn end(&self, loss: Loss) {
        let mut state = self.state();
        state.loss.get_or_insert(loss);
        state.waiting.clear();
    }

    /// Returns why the session ended.
    pub(super) fn loss(&self) -> Loss {
        self.state().loss.clone().unwrap_or(Loss::Closed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and every state is a valid one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
