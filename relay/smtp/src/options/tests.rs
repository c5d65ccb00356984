use super::*;
use proptest::prelude::*;

fn of_mail(keyword: &str, value: &str) -> Result<MailOptions, String> {
    let mut options = MailOptions::default();
    match mail(&mut options, keyword, Some(value)) {
        Ok(true) => Ok(options),
        Ok(false) => panic!("{keyword} is not known"),
        Err(error) => {
            assert_eq!((error.code, error.enhanced), (501, "5.5.4"));
            Err(error.text)
        }
    }
}

fn of_recipient(keyword: &str, value: &str) -> Result<RecipientOptions, String> {
    let mut options = RecipientOptions::default();
    match recipient(&mut options, keyword, Some(value)) {
        Ok(known) => {
            assert!(known);
            Ok(options)
        }
        Err(error) => Err(error.text),
    }
}

#[test]
fn xtext_is_read_and_written() {
    let rows = [
        ("QQ314159", "QQ314159"),
        ("a+2Bb+3Dc+20d", "a+b=c d"),
        ("+41", "A"),
    ];
    for (encoded, decoded) in rows {
        assert_eq!(decode_xtext(encoded).as_deref(), Some(decoded));
        assert_eq!(decode_xtext(&encode_xtext(decoded)).unwrap(), decoded);
    }
    for bad in [
        "a=b", "+", "+4", "+2b", "+GG", "a b", "\u{e5}", "+0D+0A", "+7F", "+FF",
    ] {
        assert_eq!(decode_xtext(bad), None, "{bad:?}");
    }
}

#[test]
fn unicode_addresses_are_read_and_written() {
    let rows = [
        (r"\x{5EFA}@example.org", "\u{5efa}@example.org"),
        ("\u{5efa}@example.org", "\u{5efa}@example.org"),
        (r"a\x{2B}b\x{5C}@x", r"a+b\@x"),
    ];
    for (encoded, decoded) in rows {
        assert_eq!(decode_unicode(encoded).as_deref(), Some(decoded));
        let again = encode_unicode(decoded);
        assert!(again.is_ascii());
        assert_eq!(decode_unicode(&again).unwrap(), decoded);
    }
    for bad in [
        r"\",
        r"\x",
        r"\x{}",
        r"\x{5}",
        r"\x{5efa}",
        r"\x{D800}",
        r"\x{110000}",
        r"\x{0A}",
        "a+b",
        "a=b",
        "a b",
        "\u{85}",
        r"\x{5EFA",
    ] {
        assert_eq!(decode_unicode(bad), None, "{bad:?}");
    }
}

#[test]
fn ret_and_envid_are_read_within_their_limits() {
    assert_eq!(
        of_mail("RET", "full").unwrap().give_back,
        Some(GiveBack::Full)
    );
    assert_eq!(
        of_mail("RET", "HDRS").unwrap().give_back,
        Some(GiveBack::Headers)
    );
    assert_eq!(of_mail("RET", "BODY").unwrap_err(), "RET is FULL or HDRS");
    let id = |value: &str| of_mail("ENVID", value).map(|options| options.envelope_id.unwrap());
    assert_eq!(id("a+2Bb").unwrap(), "a+b");
    assert_eq!(id(&"x".repeat(100)).unwrap().len(), 100);
    for bad in ["", "a=b", &"x".repeat(101)] {
        assert!(id(bad).unwrap_err().starts_with("ENVID is up to 100"));
    }
}

/// `ENVID` and `ORCPT` come back in the header blocks of reports (RFC 3464 section 2.2.1).
#[test]
fn r6_no_parameter_carries_a_line_end_into_a_report() {
    for end in ["+0A", "+0D+0A", "+0D", "\n", "\r\n"] {
        let value = format!("a{end}X-Forged:+20yes");
        assert!(of_mail("ENVID", &value).is_err(), "{value:?}");
        assert!(
            of_recipient("ORCPT", &format!("rfc822;{value}")).is_err(),
            "{value:?}"
        );
        assert!(
            of_recipient("ORCPT", &format!("{value};a@b")).is_err(),
            "{value:?}"
        );
    }
    for end in [r"\x{0A}", r"\x{0D}\x{0A}", r"\x{85}", "\n"] {
        let value = format!("utf-8;a{end}X-Forged:yes");
        assert!(of_recipient("ORCPT", &value).is_err(), "{value:?}");
    }
}

#[test]
fn notify_and_orcpt_are_read_and_written() {
    let notify = |value: &str| of_recipient("NOTIFY", value).map(|one| one.notify.unwrap());
    for (text, written) in [
        ("never", "NEVER"),
        ("failure,success", "SUCCESS,FAILURE"),
        ("DELAY", "DELAY"),
    ] {
        assert_eq!(notify(text).unwrap().to_string(), written);
    }
    for bad in ["", "NEVER,SUCCESS", "SUCCESS,", "ALWAYS", "SUCCESS;DELAY"] {
        assert!(
            notify(bad).unwrap_err().starts_with("NOTIFY is NEVER"),
            "{bad}"
        );
    }
    let options = of_recipient("ORCPT", "rfc822;Bob+2Bshop@example.com").unwrap();
    let original = options.original.unwrap();
    assert_eq!(original.address, "Bob+shop@example.com");
    assert_eq!(original.to_string(), "rfc822;Bob+2Bshop@example.com");
    assert_eq!(original.to_field(), "rfc822; Bob+shop@example.com");
    let original = of_recipient("ORCPT", r"utf-8;g\x{E5}@x")
        .unwrap()
        .original
        .unwrap();
    assert_eq!(original.address, "g\u{e5}@x");
    assert_eq!(original.to_field(), r"utf-8; g\x{E5}@x");
    let long = format!("rfc822;{}", "x".repeat(494));
    for bad in [
        "rfc822",
        "rfc822;",
        ";a@b",
        "rfc 822;a@b",
        "rfc822;a+@b",
        &long,
    ] {
        assert!(
            of_recipient("ORCPT", bad)
                .unwrap_err()
                .starts_with("ORCPT is"),
            "{bad}"
        );
    }
}

#[test]
fn reports_are_wanted_as_notify_says() {
    let wants = |value: &str| {
        let options = of_recipient("NOTIFY", value).unwrap();
        (options.reports_success(), options.reports_failure())
    };
    assert_eq!(wants("NEVER"), (false, false));
    assert_eq!(wants("SUCCESS"), (true, false));
    assert_eq!(wants("SUCCESS,FAILURE"), (true, true));
    assert_eq!(wants("DELAY"), (false, false));
    let none = RecipientOptions::default();
    assert!(none.reports_failure() && !none.reports_success());
}

#[test]
fn deliver_by_is_read_and_written() {
    let by = |value: &str| of_mail("BY", value).map(|options| options.deliver_by.unwrap());
    for (text, written) in [
        ("120;R", "120;R"),
        ("+60;nt", "60;NT"),
        ("-5;N", "-5;N"),
        ("0;NT", "0;NT"),
    ] {
        assert_eq!(by(text).unwrap().to_string(), written);
    }
    for bad in [
        "",
        "120",
        "120;",
        "120;X",
        "120;RTT",
        ";R",
        "1234567890;N",
        "1.5;R",
        "--1;N",
    ] {
        assert!(by(bad).unwrap_err().starts_with("BY is seconds"), "{bad}");
    }
    for past in ["0;R", "-1;RT"] {
        assert!(
            by(past).unwrap_err().starts_with("BY with mode R needs"),
            "{past}"
        );
    }
}

#[test]
fn a_time_of_release_is_read_in_both_forms_and_not_twice() {
    let hold = |keyword, value: &str| of_mail(keyword, value).map(|one| one.hold.unwrap());
    assert_eq!(hold("HOLDFOR", "3600").unwrap().release(1000), 4600);
    let until = hold("HOLDUNTIL", "2026-09-21T14:13:20Z").unwrap();
    assert_eq!(until.release(1000), 1_790_000_000);
    for bad in ["0", "", "-1", "1234567890", "1h"] {
        assert!(
            hold("HOLDFOR", bad).unwrap_err().starts_with("HOLDFOR is"),
            "{bad}"
        );
    }
    let mut options = MailOptions::default();
    assert!(mail(&mut options, "HOLDFOR", Some("5")).unwrap());
    let twice = mail(&mut options, "HOLDUNTIL", Some("2026-09-21T14:13:20Z"));
    assert_eq!(
        twice.unwrap_err().text,
        "give HOLDFOR or HOLDUNTIL, not both"
    );
}

#[test]
fn dates_and_times_are_read_strictly() {
    let rows = [
        ("1970-01-01T00:00:00Z", Some(0)),
        ("2000-02-29t12:00:00.5z", Some(951_825_600)),
        ("2026-09-21T16:13:20+02:00", Some(1_790_000_000)),
        ("2026-09-21T04:13:20-10:00", Some(1_790_000_000)),
        ("2016-12-31T23:59:60Z", Some(1_483_228_800)),
        ("1969-12-31T23:59:59Z", None),
        ("2026-02-29T00:00:00Z", None),
        ("2026-13-01T00:00:00Z", None),
        ("2026-00-01T00:00:00Z", None),
        ("2026-01-00T00:00:00Z", None),
        ("2026-01-01T24:00:00Z", None),
        ("2026-01-01T00:60:00Z", None),
        ("2026-01-01 00:00:00Z", None),
        ("2026-01-01T00:00:00", None),
        ("2026-01-01T00:00:00.Z", None),
        ("2026-01-01T00:00:00+0200", None),
        ("2026-01-01T00:00:00+24:00", None),
        ("2026-1-01T00:00:00Z", None),
        ("+026-01-01T00:00:00Z", None),
        ("2026-01-01T00:00:0\u{e5}", None),
        ("", None),
    ];
    for (text, expected) in rows {
        assert_eq!(date_time::read(text), expected, "{text}");
    }
    assert_eq!(date_time(1_790_000_000), "2026-09-21T14:13:20Z");
    assert_eq!(date_time(u64::MAX), "9999-12-31T23:59:59Z");
}

#[test]
fn a_priority_is_one_digit_with_or_without_a_minus() {
    let of = |value: &str| of_mail("MT-PRIORITY", value).map(|options| options.priority);
    assert_eq!(of("9"), Ok(9));
    assert_eq!(of("-9"), Ok(-9));
    for bad in ["10", "-10", "+3", "", "high"] {
        assert_eq!(
            of(bad).unwrap_err(),
            "MT-PRIORITY is a number from -9 to 9",
            "{bad}"
        );
    }
}

#[test]
fn requiretls_takes_no_value_and_others_need_one() {
    let mut options = MailOptions::default();
    assert!(mail(&mut options, "REQUIRETLS", None).unwrap() && options.require_tls);
    assert_eq!(
        of_mail("REQUIRETLS", "yes").unwrap_err(),
        "REQUIRETLS takes no value"
    );
    for keyword in ["RET", "ENVID", "BY", "HOLDFOR", "HOLDUNTIL", "MT-PRIORITY"] {
        assert!(mail(&mut options, keyword, None).is_err(), "{keyword}");
    }
    assert!(!mail(&mut options, "SOLICIT", Some("x")).unwrap());
}

proptest! {
    #[test]
    fn every_second_is_written_as_it_is_read(seconds in 0_u64..253_402_300_800) {
        prop_assert_eq!(date_time::read(&date_time(seconds)), Some(seconds));
    }

    #[test]
    fn text_survives_its_encodings(text in "[ -~]{0,40}", unicode in "\\PC{0,40}") {
        prop_assert_eq!(decode_xtext(&encode_xtext(&text)), Some(text));
        prop_assert_eq!(decode_unicode(&encode_unicode(&unicode)), Some(unicode));
    }

    #[test]
    fn no_value_makes_the_parser_panic(value in "\\PC{0,60}") {
        for keyword in ["RET", "ENVID", "BY", "HOLDFOR", "HOLDUNTIL", "MT-PRIORITY"] {
            let _ = mail(&mut MailOptions::default(), keyword, Some(&value));
        }
        for keyword in ["NOTIFY", "ORCPT"] {
            let _ = recipient(&mut RecipientOptions::default(), keyword, Some(&value));
        }
    }
}
