//! The worker pool: a bounded queue, and threads that may block.
//!
//! Owns: who works on what and for how long. A request holds its worker for a drawn service time and for its
//! real work (reading the volume, scoring), so a slow volume fills the pool and then the queue, as it does in
//! a real server. First come, first served; a request whose client has left is still worked on, as common
//! model servers do. A model without stored features and without a service time needs no worker: it is
//! answered on the IO thread.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::sync::oneshot;

use super::answer::Answer;
use super::model::Model;
use super::prediction_log::PredictionLog;
use super::request::Format;
use super::serving::{Hands, Serving};
use super::{Options, ServiceTime};
use crate::clock;
use crate::rng::Stream;

/// The model and those who work with it. Dropping it sends the workers home when their job is done.
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: usize,
}

struct Shared {
    serving: Serving,
    log: Option<PredictionLog>,
    queue: Mutex<Queue>,
    wake: Condvar,
    alive: AtomicUsize,
}

struct Queue {
    jobs: VecDeque<Job>,
    bound: usize,
    /// Workers without a job. One that was woken but does not run yet is free still, so that what it is about
    /// to take fills no place in the queue.
    free: usize,
    closed: bool,
}

struct Job {
    format: Format,
    body: Bytes,
    reply: oneshot::Sender<Answer>,
}

impl Pool {
    /// Starts the workers, where the model needs any.
    pub(super) fn start(options: &Options, model: Model) -> io::Result<Pool> {
        let log = options.prediction_log.as_ref().map(|path| PredictionLog::new(path, options.prediction_log_required));
        // What comes from a registry may have stored features.
        let same_model = options.reload.registry_model.is_none();
        let inline = model.store.is_none() && options.service_time == ServiceTime::None && same_model && log.is_none();
        let workers = if inline { 0 } else { options.workers };
        let queue = Queue { jobs: VecDeque::new(), bound: options.queue, free: workers, closed: false };
        let pool = Pool {
            shared: Arc::new(Shared {
                serving: Serving::new(options, model),
                log,
                queue: Mutex::new(queue),
                wake: Condvar::new(),
                alive: AtomicUsize::new(0),
            }),
            workers,
        };
        for index in 0..workers {
            let (shared, time, chance) = (pool.shared.clone(), options.service_time, options.stream_of_worker(index));
            pool.shared.alive.fetch_add(1, Relaxed);
            let worker = AtWork(shared);
            std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || worker.work(time, chance))?;
        }
        Ok(pool)
    }

    pub(super) fn serving(&self) -> &Serving {
        &self.shared.serving
    }

    /// Answers that the prediction log could not take; none without a log.
    pub(super) fn log_losses(&self) -> Option<u64> {
        self.shared.log.as_ref().map(PredictionLog::lost)
    }

    /// Requests that wait for a worker.
    pub(super) fn queue_depth(&self) -> usize {
        let queue = self.shared.queue();
        queue.jobs.len().saturating_sub(queue.free)
    }

    /// Whether every worker is still there.
    pub(super) fn is_whole(&self) -> bool {
        self.shared.alive.load(Relaxed) == self.workers
    }

    /// Answers a request, as soon as a worker can.
    pub(super) async fn answer(&self, format: Format, body: Bytes) -> Answer {
        if self.workers == 0 {
            let mut hands = self.shared.serving.hands();
            return self.shared.timed(|| self.shared.predict(&mut hands, || {}, format, &body));
        }
        let (reply, answer) = oneshot::channel();
        if !self.shared.offer(Job { format, body, reply }) {
            return Answer::error(StatusCode::SERVICE_UNAVAILABLE, "the queue is full; try again later");
        }
        answer.await.unwrap_or_else(|_| Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "the worker has died"))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing under this lock can panic halfway; a poisoned queue is whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job into the queue, or says that it is full.
    fn offer(&self, job: Job) -> bool {
        let mut queue = self.queue();
        let room = queue.jobs.len() < queue.bound + queue.free;
        if room {
            queue.jobs.push_back(job);
            self.wake.notify_one();
        }
        room
    }

    /// The next job, or `None` when the pool is gone.
    fn take(&self) -> Option<Job> {
        let mut queue = self.queue();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                queue.free -= 1;
                return Some(job);
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn predict(&self, hands: &mut Hands, hold: impl FnOnce(), format: Format, body: &[u8]) -> Answer {
        let answer = self.serving.predict(hands, hold, format, body);
        match self.log.as_ref().filter(|_| answer.status == StatusCode::OK).map(|log| log.append(&answer.body)) {
            Some(Err(why)) => Answer::error(StatusCode::INTERNAL_SERVER_ERROR, &why),
            Some(Ok(())) | None => answer,
        }
    }

    fn timed(&self, work: impl FnOnce() -> Answer) -> Answer {
        let began = clock::monotonic_nanos();
        let answer = work();
        self.serving.metrics.served(Duration::from_nanos(clock::monotonic_nanos() - began));
        answer
    }
}

/// A worker for as long as it lives, so that one which panics is missed.
struct AtWork(Arc<Shared>);

impl AtWork {
    fn work(self, time: ServiceTime, mut chance: Stream) {
        let shared = &self.0;
        let mut hands = shared.serving.hands();
        while let Some(job) = shared.take() {
            let answer = shared.timed(|| {
                // Drawn for each request, whether it is needed or not: the next one's does not depend on it.
                let cost = time.sample(&mut chance);
                shared.predict(&mut hands, || clock::sleep(cost), job.format, &job.body)
            });
            // Free before the answer is out: a client that asks again at once finds the place.
            shared.queue().free += 1;
            let _ = job.reply.send(answer); // The client may have left meanwhile.
        }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Relaxed);
    }
}
