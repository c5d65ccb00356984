use super::*;

fn addresses(text: &str) -> Vec<IpAddr> {
    text.split(' ').map(|one| one.parse().unwrap()).collect()
}

const FOUR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const SIX: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

#[test]
fn m14_b15_families_alternate_and_ipv4_begins() {
    let families = Families::default();
    let now = Instant::now();
    for (given, expected) in [
        ("2001:db8::1 192.0.2.1", "192.0.2.1 2001:db8::1"),
        (
            "192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::1 2001:db8::2",
            "192.0.2.1 2001:db8::1 192.0.2.2 2001:db8::2 192.0.2.3",
        ),
        ("2001:db8::1 2001:db8::2", "2001:db8::1 2001:db8::2"),
    ] {
        assert_eq!(
            families.order(addresses(given), now),
            addresses(expected),
            "{given}"
        );
    }
}

#[test]
fn a_family_that_leads_nowhere_while_the_other_works_goes_last_for_a_while() {
    for (dead, living) in [(FOUR, SIX), (SIX, FOUR)] {
        let families = Families::default();
        let now = Instant::now();
        let both = vec![FOUR, FOUR, SIX, SIX];
        for _ in 0..FAILURES - 1 {
            families.failed(dead, now);
        }
        families.answered(living, now);
        assert_eq!(families.order(both.clone(), now)[..2], [FOUR, SIX]);
        families.failed(dead, now);
        let order = families.order(both.clone(), now);
        assert_eq!(order, [living, living, dead, dead]);
        let later = now + LAST_FOR;
        assert_eq!(families.order(both.clone(), later)[..2], [FOUR, SIX]);
        // One more failure after that, and it waits again; one answer, and it does not.
        families.answered(living, later);
        families.failed(dead, later);
        assert_eq!(families.order(both.clone(), later), order);
        families.answered(dead, later);
        assert_eq!(families.order(both, later)[..2], [FOUR, SIX]);
    }
}

#[test]
fn a_network_that_is_down_puts_no_family_last() {
    let families = Families::default();
    let now = Instant::now();
    families.answered(FOUR, now);
    let later = now + Duration::from_secs(1);
    for _ in 0..2 * FAILURES {
        families.failed(FOUR, later);
    }
    assert_eq!(families.order(vec![SIX, FOUR], later), [FOUR, SIX]);
    for _ in 0..2 * FAILURES {
        families.failed(SIX, later);
    }
    assert_eq!(families.order(vec![SIX, FOUR], later), [FOUR, SIX]);
}
