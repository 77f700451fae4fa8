//! Tables of lines with and without secrets.

use super::*;
use crate::line::{CarriageReturnMode, LineSplitter};
use proptest::prelude::*;

fn redacted(text: &str) -> String {
    let (mut redact, _) = Redactor::new(Vec::new(), 1 << 18);
    let mut out = Vec::new();
    let line = Line { text: text.as_bytes(), continued: false, partial: false, source: 0 };
    redact.redact_line(line, 1 << 18, &mut |line| out.extend_from_slice(line.text));
    String::from_utf8(out).unwrap()
}

fn first(text: &str, count: usize) -> &str {
    text.get(..count).unwrap()
}

/// The examples are assembled at run time, so that secret scanners do not find them in the source.
fn planted() -> Vec<String> {
    let letters = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8";
    vec![
        format!("AKIA{}", "IOSFODNN7EXAMPLE"),
        format!("ghp_{letters}"),
        format!("glpat-{}", first(letters, 20)),
        format!("xoxb-{}", first(letters, 24)),
        format!("AIza{}", first(letters, 35)),
        format!("sk_live_{}", first(letters, 24)),
        format!("npm_{letters}"),
        format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{letters}"),
    ]
}

#[test]
fn secrets_by_their_form_are_taken_out() {
    for secret in planted() {
        assert_eq!(redacted(&format!("x {secret} y")), "x [redacted] y", "{secret}");
        assert_eq!(redacted(&format!("\x1b[31m{secret}\x1b[0m")), "\x1b[31m[redacted]\x1b[0m", "{secret}");
    }
}

#[test]
fn the_address_before_a_secret_stays() {
    let letters = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1v2";
    let table = [
        ("https://hooks.slack.com/services/", letters.to_owned()),
        ("https://discord.com/api/webhooks/", format!("1234567890/{letters}")),
        ("https://example.webhook.office.com/webhookb2/", letters.to_owned()),
        ("https://api.telegram.org/bot", format!("1234567:{letters}")),
    ];
    for (address, secret) in table {
        assert_eq!(redacted(&format!("POST {address}{secret} 200")), format!("POST {address}[redacted] 200"));
    }
}

#[test]
fn a_known_form_is_taken_out_of_a_harmless_value() {
    // Each of these begins a value that is harmless by itself, and most of them have no end.
    let filler = "x ".repeat(200);
    let values = [
        "Auth:\"",
        "Authorization: '",
        "password=\"",
        "cookie: \"",
        "token: \"${X} ",
        "api_key = \"<none> ",
        "{\"secret\":\" ",
    ];
    for secret in planted() {
        for value in values {
            for (before, after) in [("", ""), (&*filler, ""), ("", &*filler), (&*filler, &*filler)] {
                let line = format!("{value}{before} ldappassaccess_token=* {secret} {after} abc&x=0");
                let out = redacted(&line);
                assert!(!out.contains(&secret), "{line}: {out}");
            }
        }
    }
}

#[test]
fn a_name_is_examined_behind_brackets_that_seem_to_contain_it() {
    // The quotation that follows the brackets looks like the name of a member, and contains a header.
    let filler = "x ".repeat(100);
    for open in ["token\":[a\\\"", "password: [", "{\"secrets\": [1, ", "authorization: ["] {
        for named in [
            "Set-Cookie: a=SECRETxyz0; Path=/",
            "password=SECRETxyz0",
            "Authorization: Bearer SECRETxyz0",
            "api_key: SECRETxyz0",
        ] {
            for (before, after) in [("", ""), (&*filler, ""), (&*filler, &*filler)] {
                for close in ["[b", "4}", "4]", "[b]}]", "\"x\"} and more"] {
                    let line = format!("{open} \"{before} {named} {after} \": {close}");
                    let out = redacted(&line);
                    assert!(!out.contains("SECRETxyz0"), "{line}: {out}");
                }
            }
        }
    }
}

#[test]
fn a_name_is_examined_between_another_name_and_its_value() {
    let filler = "x".repeat(200);
    for element in ["password", "auth", "db:credentials", "apiKey"] {
        for attribute in
            ["token=\"§\"", "secret='§'", "a=b note=\"run --token=§ \"", "cmd=\"curl -u user:§\"", "x=\"password: §\""]
        {
            for content in ["SECRETabc1", "<![CDATA[SECRETabc1]]>", "/nsmtppass:SECRETabc1%"] {
                for filler in ["", &filler] {
                    let attribute = attribute.replace('§', "SECRETxyz0");
                    for line in [
                        format!("<{element} {attribute} {filler}>{content}</{element}>"),
                        format!("<{element} n=\"{filler}\" {attribute}>{content}"),
                        format!("pass:<<<{element} {{\"log\":\"{filler} --token=SECRETxyz0\"}} >{content}"),
                    ] {
                        let out = redacted(&line);
                        assert!(!out.contains("SECRETxyz0") && !out.contains("SECRETabc1"), "{line}: {out}");
                    }
                }
            }
        }
    }
}

/// Lines in which `§` is the secret, which alone is replaced by the mark.
fn covered() -> Vec<String> {
    let lines = include_str!("../../../tests/redact/secrets.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.trim_start_matches('^').replace('␛', "\x1b").replace('␇', "\x07")).collect()
}

#[test]
fn secrets_are_known_by_what_stands_before_them() {
    assert!(covered().len() > 200);
    let mut wrong = Vec::new();
    for secret in ["hunter2pass", "Zx9-kQ_42.v7", "tr0ub4dor&3x", "s3cr3t!$word"] {
        for template in covered() {
            // Where these end a value or have another meaning, a person would encode them.
            let special = secret.contains(['&', '!', '$']);
            let taken = ["&quot;", "%", "?", "&x=", "&password=", "`", "://", "@tcp", ".blob", "1&sig"];
            if special && taken.iter().any(|what| template.contains(what)) {
                continue;
            }
            let line = template.replace('§', secret);
            let expected = template.replace('§', "[redacted]");
            if redacted(&line) != expected {
                wrong.push((line.clone(), redacted(&line)));
            }
            if serde_json::from_str::<serde_json::Value>(&line).is_ok() {
                assert!(serde_json::from_str::<serde_json::Value>(&expected).is_ok(), "{expected}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn where_a_secret_begins_and_ends() {
    let table = [
        // No part of a secret remains.
        ("password=AAA;rest", "password=[redacted]"),
        ("password=AAA,rest x", "password=[redacted] x"),
        ("passwd: hunter2,pass", "passwd: [redacted]"),
        ("password: correct horse battery", "password: [redacted]"),
        ("password=a\"b", "password=[redacted]"),
        ("password='it''s' x", "password='[redacted]' x"),
        ("{\"token\":\"a\\\"b\",\"c\":2}", "{\"token\":\"[redacted]\",\"c\":2}"),
        ("{\"token\":\"a\\\\\",\"c\":2}", "{\"token\":\"[redacted]\",\"c\":2}"),
        ("{\"password\": \"correct horse", "{\"password\": \"[redacted]"),
        ("postgres://app:hunter2@pass@db/x", "postgres://app:[redacted]@db/x"),
        ("postgres://u:A/B@h", "postgres://u:[redacted]@h"),
        ("postgres://u:a:b@h/x", "postgres://u:[redacted]@h/x"),
        ("postgres://u:p@ss/w:rd@h/x", "postgres://u:[redacted]@h/x"),
        ("https://a%40b:p%2Fq@h/x", "https://a%40b:[redacted]@h/x"),
        ("Authorization: hunter2pass", "Authorization: [redacted]"),
        ("authorization: Custom hunter2pass next", "authorization: [redacted]"),
        (
            "Authorization: AWS4-HMAC-SHA256 Credential=AKIA/x, SignedHeaders=a;b, Signature=f00",
            "Authorization: AWS4-HMAC-SHA256 [redacted]",
        ),
        (
            "-H 'Authorization: Digest username=\"ann\", realm=\"a b\", response=\"f00\"' x",
            "-H 'Authorization: Digest [redacted]' x",
        ),
        ("using Basic dXNlcjpwYXNz now", "using Basic [redacted] now"),
        ("sent bearer abcdefgh12345", "sent bearer [redacted]"),
        ("pass\x1b[1mword=hun\x1b[32mter2\x1b[0m x", "pass\x1b[1mword=[redacted]\x1b[32m\x1b[0m x"),
        // A number becomes a string, also in JSON within another string.
        ("{\"password\": 12345}", "{\"password\": \"[redacted]\"}"),
        ("{\"password\":[123456,null],\"a\":1}", "{\"password\":[\"[redacted]\",null],\"a\":1}"),
        (r#"{"a":"{\"password\":12345,\"b\":1}"}"#, r#"{"a":"{\"password\":\"[redacted]\",\"b\":1}"}"#),
        // References are not secrets, and neither are values that mean "none".
        ("{\"password\":null,\"token\":\"\"}", "{\"password\":null,\"token\":\"\"}"),
        ("password=${DB_PASSWORD} token: {{ .Values.token }}", "password=${DB_PASSWORD} token: {{ .Values.token }}"),
        ("POSTGRES_PASSWORD_FILE=/run/secrets/db", "POSTGRES_PASSWORD_FILE=/run/secrets/db"),
        // A second redaction changes nothing.
        ("password=[redacted] {\"token\":\"[redacted]\"}", "password=[redacted] {\"token\":\"[redacted]\"}"),
        ("Authorization: Bearer [redacted]", "Authorization: Bearer [redacted]"),
        ("Cookie: a=[redacted]; b=[redacted]", "Cookie: a=[redacted]; b=[redacted]"),
        ("postgres://ann:[redacted]@db", "postgres://ann:[redacted]@db"),
    ];
    for (line, expected) in table {
        assert_eq!(redacted(line), expected, "{line}");
    }
}

/// The output for these lines, in order.
fn all(lines: &[&str]) -> Vec<String> {
    let (mut redact, _) = Redactor::new(Vec::new(), 1 << 18);
    let mut out = Vec::new();
    for line in lines {
        // The state goes through its text form, as in a restart.
        let carry = redact.carry().to_string();
        redact = Redactor::new(Vec::new(), 1 << 18).0;
        redact.resume(carry.parse().unwrap());
        let line = Line { text: line.as_bytes(), continued: false, partial: false, source: 0 };
        redact.redact_line(line, 1 << 18, &mut |line| out.push(String::from_utf8(line.text.to_vec()).unwrap()));
    }
    out
}

#[test]
fn blocks_of_yaml_are_taken_out_to_their_end() {
    let m = "[redacted]";
    let table: &[(&[&str], &[&str])] = &[
        (&["password: |", "  one", "  two", "next: x"], &["password: |", "  [redacted]", "  [redacted]", "next: x"]),
        (
            &["a:", "  token: >-", "    one", "", "    two", "  b: c"],
            &["a:", "  token: >-", "    [redacted]", "", "    [redacted]", "  b: c"],
        ),
        (&["- secret: |2+ # x", "    one", "- b"], &["- secret: |2+ # x", "    [redacted]", "- b"]),
        (&["\"password\": |", " one", "b: c"], &["\"password\": |", " [redacted]", "b: c"]),
        (
            &["app | password: |", "app |   one", "app | b: c"],
            &["app | password: |", "app |   [redacted]", "app | b: c"],
        ),
        (&["password: |", "b: |", "  c"], &["password: |", "b: |", "  c"]),
        (&["password: | grep x", "  b"], &["password: [redacted]", "  b"]),
        (&["password: |\n  one\nb: c", "  d"], &["password: |\n  [redacted]\nb: c", "  d"]),
        (&["x\npassword: |\n  one", "  two", "b"], &["x\npassword: |\n  [redacted]", "  [redacted]", "b"]),
        (
            &["{\"log\":\"password: |\\n  one\\n  two\\nb: c\"}"],
            &["{\"log\":\"password: |\\n  [redacted]\\n  [redacted]\\nb: c\"}"],
        ),
        (&["{\"log\":\"password: |\\n  one\"}", "  b"], &["{\"log\":\"password: |\\n  [redacted]\"}", "  b"]),
        (
            &["- name: DB_PASSWORD", "  value: one", "  value: two"],
            &["- name: DB_PASSWORD", "  value: [redacted]", "  value: two"],
        ),
        (&["- name: \"api_key\"", "  valueFrom: x"], &["- name: \"api_key\"", "  valueFrom: x"]),
        (
            &["\x1b[36mpassword\x1b[0m: |", "  \x1b[32mone\x1b[0m", "b"],
            &["\x1b[36mpassword\x1b[0m: |", "  \x1b[32m[redacted]\x1b[0m", "b"],
        ),
    ];
    for (lines, expected) in table {
        assert_eq!(all(lines), *expected, "{lines:?}");
    }
    // A key without an end ends after the maximum number of lines.
    let lines: Vec<_> =
        std::iter::once("password: |").chain(std::iter::repeat_n("  x", MAX_SECRET_LINES + 1)).collect();
    let out = all(&lines);
    assert!(
        out[1..=MAX_SECRET_LINES].iter().all(|line| line.trim() == m) && out[MAX_SECRET_LINES + 1] == "  x",
        "{out:?}"
    );
}

#[test]
fn harmless_lines_stay_as_they_are() {
    let lines: Vec<_> = include_str!("../../../tests/redact/harmless.txt").lines().collect();
    assert!(lines.len() >= 200, "{}", lines.len());
    let changed: Vec<_> = lines.iter().filter(|line| redacted(line) != **line).map(|line| redacted(line)).collect();
    assert!(changed.is_empty(), "{changed:#?}");
    // The neighbours do not become secret, either.
    assert_eq!(all(&lines), lines);
}

#[test]
fn a_private_key_is_taken_out_over_all_its_lines() {
    let (begin, end) =
        (format!("-----BEGIN RSA {} KEY-----", "PRIVATE"), format!("-----END RSA {} KEY-----", "PRIVATE"));
    let (mut redact, max) = Redactor::new(Vec::new(), 4096);
    let mut out = Vec::new();
    let mut lines = LineSplitter::new(max, CarriageReturnMode::Fold);
    let text = format!("a\nkey: x {begin}\nMIIabc\ndefg==\n{end} b\nc {begin}MII{end} d\n");
    lines.push(text.as_bytes(), |line| {
        redact.redact_line(line, 4096, &mut |line| out.push(String::from_utf8(line.text.to_vec()).unwrap()));
    });
    let mark = "[redacted]";
    assert_eq!(out, ["a", &format!("key: x {mark}"), mark, mark, &format!("{mark} b"), &format!("c {mark} d")]);
    assert_eq!(redact.take_count(), 5);
}

#[test]
fn a_private_key_may_begin_in_the_last_piece_of_a_line() {
    let (mut redact, _) = Redactor::new(Vec::new(), 1 << 18);
    let long = "x ".repeat(4 * MAX_HELD_BYTES);
    let [begin, end] = ["BEGIN", "END"].map(|edge| format!("-----{edge} PRIVATE KEY-----"));
    let mut out = String::new();
    for (text, continued) in [(&*long, true), (&*begin, false), ("MIIEvQIBADANBg", false), (&*end, false)] {
        let line = Line { text: text.as_bytes(), continued, partial: false, source: 0 };
        redact.redact_line(line, 1 << 18, &mut |line| out.push_str(std::str::from_utf8(line.text).unwrap()));
    }
    assert_eq!(out, long + "[redacted][redacted][redacted]");
}

#[test]
fn the_name_of_a_sender_is_no_part_of_the_lines() {
    for open in ["-----BEGIN PRIVATE KEY-----", "password: |"] {
        let (mut redact, _) = Redactor::new(Vec::new(), 1 << 18);
        let line = Line { text: open.as_bytes(), continued: false, partial: false, source: 0 };
        redact.redact_line(line, 1 << 18, &mut |_| {});
        assert_ne!(redact.carry(), Carry::Nothing, "{open}");
        assert_eq!(redact.redact_name("  ci-7"), "  ci-7", "{open}");
        assert_eq!(redact.redact_name("ci token=hunter2pass"), "ci token=[redacted]", "{open}");
    }
}

#[test]
fn a_lone_quotation_mark_is_a_value() {
    assert_eq!(redacted(r#"["mysql","-p'"]"#), r#"["mysql","-p[redacted]"]"#);
}

#[test]
fn secrets_that_overlap_are_one_and_keep_a_quote_that_still_fits() {
    /// The beginning and the end of a secret, and its quote.
    type Span = (usize, usize, Option<(usize, usize)>);
    let quote = Some((0, 1));
    let table: [(&[Span], &[Span]); 5] = [
        (&[(0, 4, None), (0, 4, quote)], &[(0, 4, quote)]),
        (&[(0, 4, quote), (2, 6, None)], &[(0, 6, None)]),
        (&[(0, 6, quote), (2, 4, None)], &[(0, 6, quote)]),
        (&[(0, 6, quote), (2, 6, None)], &[(0, 6, quote)]),
        (&[(2, 4, None), (0, 2, quote)], &[(0, 2, quote), (2, 4, None)]),
    ];
    for (found, expected) in table {
        let spans = found.iter().map(|&(begin, end, quote)| SecretSpan { begin, end, quote }).collect();
        let merged: Vec<_> =
            merge_overlapping(spans).iter().map(|secret| (secret.begin, secret.end, secret.quote)).collect();
        assert_eq!(merged, expected, "{found:?}");
    }
}

#[test]
fn patterns_of_ones_own_count_too() {
    let own = vec![Regex::new("pin (?P<secret>[0-9]+)").unwrap(), Regex::new("ACME-[0-9]+").unwrap()];
    let (mut redact, _) = Redactor::new(own, 4096);
    let mut out = Vec::new();
    let line = Line { text: b"pin 1234 of ACME-77", continued: false, partial: false, source: 0 };
    redact.redact_line(line, 4096, &mut |line| out.extend_from_slice(line.text));
    assert_eq!(out, b"pin [redacted] of [redacted]");
    assert_eq!(redact.redact_open(b"pin 1234 of ACME-77"), b"pin [redacted] of ");
}

proptest! {
    #[test]
    fn where_reads_and_lines_are_cut_never_shows_a_secret(
        before in 0usize..3000, after in 0usize..3000, chunk in 1usize..700, which in 0usize..8, colon in proptest::bool::ANY,
    ) {
        const TEST_LINE_LIMIT: usize = 1 << 10;
        let secret = planted()[which].clone();
        let fill = |count: usize| "word ".repeat(count / 5);
        let named = if colon { "password: " } else { "" };
        let text = format!("at {}{named}{secret} {}\n", fill(before), fill(after));
        let (mut redact, max) = Redactor::new(Vec::new(), TEST_LINE_LIMIT);
        let mut lines = LineSplitter::new(max, CarriageReturnMode::Fold);
        let mut out = Vec::new();
        for bytes in text.as_bytes().chunks(chunk) {
            lines.push(bytes, |line| redact.redact_line(line, TEST_LINE_LIMIT, &mut |line| {
                assert!(line.text.len() <= TEST_LINE_LIMIT);
                out.extend_from_slice(line.text);
            }));
            let shown = redact.redact_open(lines.open());
            prop_assert!(!String::from_utf8_lossy(&shown).contains(first(&secret, 12)), "{:?}", shown);
        }
        let expected = text.trim_end_matches('\n').replace(&secret, "[redacted]");
        prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        prop_assert_eq!((redact.take_count(), redact.held()), (1, 0));
    }
}

/// JSON of any shape in which some values are secret, as text within text to this depth.
fn document() -> impl Strategy<Value = (serde_json::Value, Vec<String>, usize)> {
    use serde_json::{Value, json};
    let text = prop_oneof![".{0,12}", "[a-z\\\\\"'=:,;{}\\[\\]<>&%$# |\n\t]{0,20}", Just("password=".to_owned())];
    let secret = "[!-~]{2,8}[0-9][A-Z][ -~]{0,8}[a-z]"
        .prop_filter("no reference and no path", |secret| !secret.starts_with(['$', '{', '%', '<', '.', '/', '~']));
    let name =
        prop_oneof![Just("password"), Just("api_key"), Just("clientSecret"), Just("DB_PASS"), Just("x-auth-token")];
    let plain = prop_oneof![
        text.prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!([1, "a"]))
    ];
    let fields = proptest::collection::vec(("[a-z]{1,3}", plain), 0..4);
    let places = proptest::collection::vec((name, secret), 1..3);
    (fields, places, 0usize..4).prop_map(|(fields, places, depth)| {
        let mut object: serde_json::Map<String, Value> =
            fields.into_iter().map(|(name, value)| (format!("f{name}"), value)).collect();
        let mut secrets = Vec::new();
        for (name, secret) in places {
            object.insert(name.to_owned(), secret.clone().into());
            secrets.retain(|(before, _)| before != name);
            secrets.push((name.to_owned(), secret));
        }
        (Value::from(object), secrets.into_iter().map(|(name, _)| name).collect(), depth)
    })
}

proptest! {
    #[test]
    fn json_stays_json_and_its_secrets_are_gone((document, names, depth) in document()) {
        let mut text = document.to_string();
        for _ in 0..depth {
            text = serde_json::json!({ "log": text, "stream": "stdout" }).to_string();
        }
        let mut out = redacted(&text);
        for _ in 0..depth {
            let outer: serde_json::Value = serde_json::from_str(&out).unwrap();
            out = outer["log"].as_str().unwrap().to_owned();
        }
        if depth == 0 || serde_json::from_str::<serde_json::Value>(&out).is_ok() {
            let inner: serde_json::Value = serde_json::from_str(&out).unwrap();
            for name in names {
                // A value with a terminal escape in it may take the next members with it, as it would in a terminal.
                let is_gone = inner[&name] == "[redacted]" || inner[&name].is_null();
                prop_assert!(is_gone, "{} in {} is {}", name, text, inner[&name]);
            }
        } else {
            // A text that only seemed to continue took more with it.
            prop_assert!(out.contains("[redacted]"));
        }
    }
}
