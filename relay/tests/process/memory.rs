//! Memory of a relay that stands idle.

use crate::receiver::Receiver;
use crate::relay::Setup;

#[test]
fn memory_of_an_idle_relay_is_what_it_uses_and_not_huge_pages() {
    let receiver = Receiver::start();
    let relay = Setup::new(receiver.address).start();
    let path = format!("/proc/{}/smaps_rollup", relay.pid());
    let text = std::fs::read_to_string(path).unwrap();
    let kibibytes = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    // Those that the allocator touched before the program could turn them off.
    assert!(kibibytes("AnonHugePages:") <= 8 << 10, "{text}");
    assert!(kibibytes("Pss_Anon:") < 16 << 10, "{text}");
}
