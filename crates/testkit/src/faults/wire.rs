use super::{After, Answer, DOWN, Expected, Fault, UNUSABLE, token};

const fn wire(
    number: &'static str,
    name: &'static str,
    bytes: &'static str,
    then: After,
    expected: Expected,
) -> Fault {
    Fault {
        number,
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

/// F-03, F-06, F-39, F-45 to F-48: faults below HTTP, or in its framing.
pub const WIRE: &[Fault] = &[
    wire(
        "F-03",
        "body_shorter_than_announced",
        head!("content-length: 60\r\n\r\n{\"access_"),
        After::Close,
        DOWN,
    ),
    wire(
        "F-04",
        "body_announced_too_large",
        head!("content-length: 104857600\r\n\r\n"),
        After::Flood("        "),
        UNUSABLE,
    ),
    wire(
        "F-06",
        "body_without_an_end",
        head!("transfer-encoding: chunked\r\n\r\n"),
        After::Flood(concat!("400\r\n", kilobyte!(), "\r\n")),
        UNUSABLE,
    ),
    wire(
        "F-39",
        "early_hints",
        concat!(
            "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 58\r\n\r\n",
            r#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#
        ),
        After::Stall,
        token(60),
    ),
    wire("F-45", "stall_before_the_headers", "", After::Stall, DOWN),
    wire(
        "F-45",
        "stall_after_the_headers",
        head!("content-length: 60\r\n\r\n"),
        After::Stall,
        DOWN,
    ),
    wire(
        "F-46",
        "one_byte_at_a_time",
        head!("transfer-encoding: chunked\r\n\r\n"),
        After::Drip("1\r\n \r\n"),
        DOWN,
    ),
    wire(
        "F-47",
        "reset_in_the_body",
        head!("content-length: 60\r\n\r\n{\"access_token"),
        After::Reset,
        DOWN,
    ),
    wire("F-48", "closed_before_an_answer", "", After::Close, DOWN),
    wire("F-48", "reset_before_an_answer", "", After::Reset, DOWN),
    wire(
        "F-59",
        "no_http_at_all",
        "220 smtp.example ESMTP\r\n",
        After::Close,
        DOWN,
    ),
];
