//! AUTH, what it needs, and what a session without it may do.

use super::*;

#[test]
fn starttls_forgets_what_was_said_before() {
    let mut script = Script::greeted();
    script.send("AUTH PLAIN AHVzZXIAb3R0ZXI=\r\nMAIL FROM:<a@b.example>\r\n");
    assert_eq!(
        script.send("STARTTLS\r\n"),
        "220 2.0.0 ready to start TLS\r\n"
    );
    assert_eq!(script.server.next(&mut BytesMut::from("NOOP\r\n")), None);
    script.server.tls_started();
    assert_eq!(codes(&script.send("RCPT TO:<c@d.example>\r\n")), [503]);
    assert_eq!(codes(&script.send("MAIL FROM:<a@b.example>\r\n")), [503]);
    script.send("EHLO c\r\n");
    assert_eq!(script.server.protocol(false), "ESMTPS");
    assert_eq!(codes(&script.send("STARTTLS\r\n")), [503]);
}

#[test]
fn r36_a_star_cancels_only_after_334() {
    let mut script = Script::greeted();
    assert_eq!(script.send("AUTH PLAIN\r\n"), "334 \r\n");
    assert_eq!(
        script.send("*\r\n"),
        "501 5.7.0 authentication cancelled\r\n"
    );
    assert_eq!(
        codes(&script.send("AUTH PLAIN AHVzZXIAYnJva2Vu\r\n")),
        [454]
    );
    assert_eq!(codes(&script.send("*\r\n")), [500]);
}

#[test]
fn r38_auth_login_with_an_initial_response_asks_for_the_password_next() {
    let mut script = Script::greeted();
    assert_eq!(
        script.send("AUTH LOGIN dXNlcg==\r\n"),
        "334 UGFzc3dvcmQ6\r\n"
    );
    assert_eq!(
        script.send("b3R0ZXI=\r\n"),
        "235 2.7.0 authentication succeeded\r\n"
    );
    assert_eq!(script.log, ["login LOGIN user"]);
    let mut script = Script::greeted();
    assert_eq!(script.send("AUTH LOGIN\r\n"), "334 VXNlcm5hbWU6\r\n");
    assert_eq!(script.send("dXNlcg==\r\n"), "334 UGFzc3dvcmQ6\r\n");
    assert_eq!(codes(&script.send("b3R0ZXI=\r\n")), [235]);
    assert_eq!(script.server.protocol(false), "ESMTPA");
}

#[test]
fn auth_plain_works_with_and_without_an_initial_response() {
    let mut script = Script::greeted();
    assert_eq!(
        codes(&script.send("AUTH plain AHVzZXIAb3R0ZXI=\r\n")),
        [235]
    );
    assert_eq!(
        codes(&script.send("AUTH PLAIN AHVzZXIAb3R0ZXI=\r\n")),
        [503]
    );
    let mut script = Script::greeted();
    // "user\0user\0otter"
    assert_eq!(
        codes(&script.send("AUTH PLAIN\r\ndXNlcgB1c2VyAG90dGVy\r\n")),
        [334, 235]
    );
    for (response, code) in [
        ("=", 501),
        ("====", 501),
        ("not base 64", 501),
        ("dXNlcg==", 501),
        ("/////w==", 501),
        // "root\0user\0otter"
        ("cm9vdAB1c2VyAG90dGVy", 535),
        ("AHVzZXIAd3Jvbmc=", 535),
    ] {
        let mut script = Script::greeted();
        assert_eq!(
            codes(&script.send(&format!("AUTH PLAIN {response}\r\n"))),
            [code],
            "{response}"
        );
        assert_eq!(codes(&script.send("NOOP\r\n")), [250]);
    }
}

#[test]
fn auth_is_refused_where_it_is_not_offered() {
    let attempt = "AUTH PLAIN AHVzZXIAb3R0ZXI=\r\n";
    let code = |change: &dyn Fn(&mut Settings), text: &str| {
        let mut settings = settings();
        change(&mut settings);
        let mut script = Script::new(settings);
        let replies = script.send(text);
        assert!(script.log.is_empty());
        replies.lines().last().unwrap()[..9].trim_end().to_owned()
    };
    let greeted = format!("EHLO c\r\n{attempt}");
    assert_eq!(code(&|_| (), attempt), "503 5.5.1");
    assert_eq!(code(&|_| (), "EHLO c\r\nAUTH CRAM-MD5\r\n"), "504 5.5.4");
    assert_eq!(
        code(&|settings| settings.login_without_tls = false, &greeted),
        "538 5.7.1"
    );
    assert_eq!(
        code(&|settings| settings.login = LoginPolicy::None, &greeted),
        "503 5.5.1"
    );
    let within = format!("EHLO c\r\nMAIL FROM:<a@b.example>\r\n{attempt}");
    assert_eq!(code(&|_| (), &within), "503 5.5.1");
}

#[test]
fn r40_every_session_must_log_in_anew() {
    let required = || Settings {
        login: LoginPolicy::Required,
        ..settings()
    };
    let mut first = Script::new(required());
    first.send("EHLO c\r\nAUTH PLAIN AHVzZXIAb3R0ZXI=\r\n");
    assert_eq!(codes(&first.send("MAIL FROM:<a@b.example>\r\n")), [250]);
    let mut second = Script::new(required());
    second.send("EHLO c\r\n");
    assert_eq!(
        second.send("MAIL FROM:<a@b.example>\r\n")[..9],
        *"530 5.7.0"
    );
}

#[test]
fn a_login_that_is_required_says_how_to_get_it() {
    let text = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings {
            login: LoginPolicy::Required,
            ..settings()
        };
        change(&mut settings);
        let mut script = Script::new(settings);
        script.send("EHLO c\r\n");
        let replies = script.send(OPEN);
        assert_eq!(codes(&replies), [530, 503, 503]);
        assert_eq!(script.log, ["login_required"]);
        replies.lines().next().unwrap().to_owned()
    };
    assert!(text(&|_| ()).contains("use AUTH"));
    assert!(
        text(&|settings| settings.login_without_tls = false).contains("use STARTTLS, then AUTH")
    );
    let none = |settings: &mut Settings| {
        settings.login_without_tls = false;
        settings.start_tls = false;
    };
    assert!(text(&none).contains("use a port with TLS"));
}

#[test]
fn three_failed_logins_end_the_session() {
    let mut script = Script::greeted();
    let attempt = "AUTH PLAIN AHVzZXIAd3Jvbmc=\r\n";
    let replies = script.send(&format!("{attempt}{attempt}{attempt}{attempt}NOOP\r\n"));
    assert_eq!(codes(&replies), [535, 535, 421]);
    assert!(script.is_closed());
}

#[test]
fn a_client_that_will_not_log_in_is_sent_away() {
    let mut script = Script::new(Settings {
        login: LoginPolicy::Required,
        ..settings()
    });
    script.send("EHLO c\r\n");
    let replies = script.send(&"MAIL FROM:<a@b.example>\r\n".repeat(30));
    assert_eq!(codes(&replies)[18..], [530, 530, 421]);
    assert!(script.is_closed());
}
