//! How one planned request ended. A failed request is data, never an `Err`.

use serde::{Deserialize, Serialize};

/// Why a request was not good. The order is that of reports; the words are those of `run.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ErrorClass {
    /// No whole answer within the timeout, counted from sent.
    Timeout,
    /// No connection within the timeout.
    ConnectTimeout,
    /// The target refused the connection.
    Refused,
    /// The connection was reset.
    Reset,
    /// The peer closed before a whole answer.
    Closed,
    /// Died while idle, found on reuse.
    IdleClosed,
    /// The name did not resolve.
    Dns,
    /// The TLS handshake or record layer failed.
    Tls,
    /// Our own side: no port, no descriptor.
    Client,
    /// A 4xx status that was not expected.
    #[serde(rename = "status_4xx")]
    Status4xx,
    /// A 5xx status that was not expected.
    #[serde(rename = "status_5xx")]
    Status5xx,
    /// Not what the protocol promises.
    BadAnswer,
    /// Beyond `max_answer`.
    TooLarge,
    /// No answer when the run ended.
    Unfinished,
}

impl ErrorClass {
    /// Every class, in the order of reports.
    pub const ALL: [ErrorClass; 14] = [
        ErrorClass::Timeout,
        ErrorClass::ConnectTimeout,
        ErrorClass::Refused,
        ErrorClass::Reset,
        ErrorClass::Closed,
        ErrorClass::IdleClosed,
        ErrorClass::Dns,
        ErrorClass::Tls,
        ErrorClass::Client,
        ErrorClass::Status4xx,
        ErrorClass::Status5xx,
        ErrorClass::BadAnswer,
        ErrorClass::TooLarge,
        ErrorClass::Unfinished,
    ];

    /// The word of `run.json`.
    pub fn word(self) -> &'static str {
        match self {
            ErrorClass::Timeout => "timeout",
            ErrorClass::ConnectTimeout => "connect_timeout",
            ErrorClass::Refused => "refused",
            ErrorClass::Reset => "reset",
            ErrorClass::Closed => "closed",
            ErrorClass::IdleClosed => "idle_closed",
            ErrorClass::Dns => "dns",
            ErrorClass::Tls => "tls",
            ErrorClass::Client => "client",
            ErrorClass::Status4xx => "status_4xx",
            ErrorClass::Status5xx => "status_5xx",
            ErrorClass::BadAnswer => "bad_answer",
            ErrorClass::TooLarge => "too_large",
            ErrorClass::Unfinished => "unfinished",
        }
    }

    /// What it means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            ErrorClass::Timeout => "no whole answer within the timeout",
            ErrorClass::ConnectTimeout => "no connection within the timeout",
            ErrorClass::Refused => "connection refused",
            ErrorClass::Reset => "connection reset by the peer",
            ErrorClass::Closed => "peer closed before a whole answer",
            ErrorClass::IdleClosed => "connection died while idle, found on reuse",
            ErrorClass::Dns => "the name did not resolve",
            ErrorClass::Tls => "TLS failed",
            ErrorClass::Client => "our own side: ports or descriptors ran out",
            ErrorClass::Status4xx => "a 4xx status",
            ErrorClass::Status5xx => "a 5xx status",
            ErrorClass::BadAnswer => "not what the protocol promises",
            ErrorClass::TooLarge => "answer larger than max_answer",
            ErrorClass::Unfinished => "no answer when the run ended",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_json() {
        for class in ErrorClass::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.word());
            assert_eq!(ErrorClass::ALL[class as usize], class);
        }
    }
}
