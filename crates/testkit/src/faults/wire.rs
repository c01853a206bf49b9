use super::response::{Answer, DOWN, Ending, Expected, FaultyResponse, UNUSABLE, token};

const fn wire(
    name: &'static str,
    bytes: &'static str,
    then: Ending,
    expected: Expected,
) -> FaultyResponse {
    FaultyResponse {
        name,
        answer: Answer::Wire { bytes, then },
        expected,
    }
}

/// A kilobyte of spaces.
macro_rules! kilobyte {
    (16) => {
        "                "
    };
    (64) => {
        concat!(kilobyte!(16), kilobyte!(16), kilobyte!(16), kilobyte!(16))
    };
    (256) => {
        concat!(kilobyte!(64), kilobyte!(64), kilobyte!(64), kilobyte!(64))
    };
    () => {
        concat!(
            kilobyte!(256),
            kilobyte!(256),
            kilobyte!(256),
            kilobyte!(256)
        )
    };
}

macro_rules! head {
    ($rest:literal) => {
        concat!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n",
            $rest
        )
    };
}

/// Faults below HTTP, or in its framing.
pub const WIRE: &[FaultyResponse] = &[
    // covers: F-03
    wire(
        "body_shorter_than_announced",
        head!("content-length: 60\r\n\r\n{\"access_"),
        Ending::Close,
        DOWN,
    ),
    // covers: F-04
    wire(
        "body_announced_too_large",
        head!("content-length: 104857600\r\n\r\n"),
        Ending::Flood("        "),
        UNUSABLE,
    ),
    // covers: F-06
    wire(
        "body_without_an_end",
        head!("transfer-encoding: chunked\r\n\r\n"),
        Ending::Flood(concat!("400\r\n", kilobyte!(), "\r\n")),
        UNUSABLE,
    ),
    // covers: F-39
    wire(
        "early_hints",
        concat!(
            "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 58\r\n\r\n",
            r#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#
        ),
        Ending::Stall,
        token(60),
    ),
    // covers: F-45
    wire("stall_before_the_headers", "", Ending::Stall, DOWN),
    wire(
        "stall_after_the_headers",
        head!("content-length: 60\r\n\r\n"),
        Ending::Stall,
        DOWN,
    ),
    // covers: F-46
    wire(
        "one_byte_at_a_time",
        head!("transfer-encoding: chunked\r\n\r\n"),
        Ending::Drip("1\r\n \r\n"),
        DOWN,
    ),
    // covers: F-47
    wire(
        "reset_in_the_body",
        head!("content-length: 60\r\n\r\n{\"access_token"),
        Ending::Reset,
        DOWN,
    ),
    // covers: F-48
    wire("closed_before_an_answer", "", Ending::Close, DOWN),
    wire("reset_before_an_answer", "", Ending::Reset, DOWN),
    // covers: F-59
    wire(
        "no_http_at_all",
        "220 smtp.example ESMTP\r\n",
        Ending::Close,
        DOWN,
    ),
];
