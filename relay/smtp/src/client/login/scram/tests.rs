use super::*;

/// RFC 7677 section 3.
const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

fn start(username: &str, bindings: &ChannelBindings) -> Scram {
    let offers = Capabilities {
        auth_scram_sha_256: true,
        auth_scram_sha_256_plus: true,
        ..Capabilities::default()
    };
    let nonce = "rOprNGfwEbeRWgbNEkqO";
    Scram::start(username, "pencil", nonce, &offers, bindings).unwrap()
}

fn exchange() -> Scram {
    start("user", &ChannelBindings::default())
}

#[test]
fn the_exchange_of_rfc_7677_is_played_to_the_octet() {
    let mut scram = exchange();
    assert_eq!(scram.mechanism(), "SCRAM-SHA-256");
    assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let answer = scram.answer(&STANDARD.encode(SERVER_FIRST)).unwrap();
    let answer = String::from_utf8(STANDARD.decode(answer).unwrap()).unwrap();
    assert_eq!(
        answer,
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    assert!(!scram.is_proven());
    let last = STANDARD.encode("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!(scram.answer(&last), Ok(String::new()));
    assert!(scram.is_proven());
}

#[test]
fn user_names_are_escaped() {
    let scram = start("a=b,c", &ChannelBindings::default());
    assert!(scram.first().starts_with("n,,n=a=3Db=2Cc,r="));
}

#[test]
fn a_server_that_does_not_know_the_password_is_found_out() {
    for last in ["v=AAAA", "e=other-error", "", "x=6rri"] {
        let mut scram = exchange();
        scram.answer(&STANDARD.encode(SERVER_FIRST)).unwrap();
        assert_eq!(
            scram.answer(&STANDARD.encode(last)),
            Err(UNPROVEN),
            "{last}"
        );
    }
}

#[test]
fn a_server_that_makes_no_sense_or_asks_for_too_much_or_little_work_ends_the_login() {
    let good = SERVER_FIRST;
    let rows = [
        (good.replace("4096", "4095"), COST),
        (good.replace("4096", "1"), COST),
        (good.replace("4096", "1000001"), COST),
        (good.replace("4096", "4294967296"), MALFORMED),
        (good.replace("4096", "0"), MALFORMED),
        (good.replace("i=4096", ""), MALFORMED),
        (good.replace("s=W22Z", "s=!"), MALFORMED),
        // The nonce of another exchange, and one to which the server added nothing.
        (good.replace("r=rOpr", "r=other"), MALFORMED),
        (
            good.replace("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", ""),
            MALFORMED,
        ),
        (format!("m=ext,{good}"), MALFORMED),
        ("e=unknown-user".into(), MALFORMED),
        ("x".repeat(LONGEST_MESSAGE + 1), MALFORMED),
    ];
    for (text, expected) in rows {
        let answer = exchange().answer(&STANDARD.encode(&text));
        assert_eq!(answer, Err(expected), "{text}");
    }
    assert_eq!(exchange().answer("not base 64!"), Err(MALFORMED));
}

#[test]
fn the_connection_is_bound_when_both_sides_can() {
    let exporter = ChannelBindings {
        exporter: Some([7; 32]),
        end_point: Some(vec![9; 32]),
    };
    let end_point = ChannelBindings {
        exporter: None,
        ..exporter.clone()
    };
    assert!(
        start("u", &exporter)
            .first()
            .starts_with("p=tls-exporter,,n=u")
    );
    let first = start("u", &end_point).first().to_owned();
    assert!(first.starts_with("p=tls-server-end-point,,n=u"));
    let without = Capabilities {
        auth_scram_sha_256: true,
        ..Capabilities::default()
    };
    let scram = Scram::start("u", "p", "n", &without, &exporter).unwrap();
    assert!(scram.first().starts_with("y,,n=u"));
    assert!(Scram::start("u", "p", "n", &Capabilities::default(), &exporter).is_none());
}
