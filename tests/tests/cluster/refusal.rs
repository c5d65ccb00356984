//! Mail that must be refused: with the right code and enhanced code, and nothing queued.

use anyhow::ensure;
use mailrelay_tests::clients::{Encryption, Mail, Outcome};
use mailrelay_tests::namespace::Kind;
use mailrelay_tests::scenario::{self, PATIENCE, RELAY, Scenario};

/// What a refusal must be.
fn is_refusal(outcome: &Outcome, stage: &str, code: u16, enhanced: &str) -> anyhow::Result<()> {
    ensure!(
        !outcome.accepted
            && outcome.stage == stage
            && outcome.code == code
            && outcome.text.starts_with(&format!("{enhanced} ")),
        "expected {code} {enhanced} at {stage}: {outcome:?}"
    );
    Ok(())
}

#[tokio::test]
async fn what_must_not_pass_is_refused_with_its_code_and_nothing_is_queued() -> anyhow::Result<()> {
    scenario::run("refusal", 14, async |scenario: &mut Scenario| {
        let limits = "  limits: {messageSize: 64Ki}";
        let account = scenario.set_up(limits).await?;
        let (sender, customer) = (scenario.sender(), scenario.customer());
        let mail = Mail::new(&sender, &customer, "refused");
        let place = &scenario.place;

        let wrong = account.with_password("not-the-password");
        is_refusal(&place.send(&wrong, &mail).await?, "auth", 535, "5.7.8")?;
        let outcome = place.swaks(&wrong, &mail).await?;
        ensure!(
            outcome.stage == "auth",
            "swaks with a wrong password: {outcome:?}"
        );

        let mut nobody = account.clone();
        nobody.login = None;
        is_refusal(&place.send(&nobody, &mail).await?, "mail", 530, "5.7.0")?;

        let clear = account.at(587, Encryption::None);
        is_refusal(
            &place.forced_login(&clear, &mail).await?,
            "auth",
            538,
            "5.7.11",
        )?;

        let foreign = Mail::new("boss@bank.example", &customer, "refused");
        is_refusal(&place.send(&account, &foreign).await?, "mail", 550, "5.7.1")?;

        // The envelope is ours, the author that a reader sees is not.
        let mut disguised = mail.clone();
        disguised.text = disguised
            .text
            .replace(&format!("From: <{sender}>"), "From: <boss@bank.example>");
        is_refusal(
            &place.send(&account, &disguised).await?,
            "data",
            550,
            "5.7.1",
        )?;

        let undirected = Mail::new(&sender, "customer", "refused");
        is_refusal(
            &place.send(&account, &undirected).await?,
            "rcpt",
            501,
            "5.1.3",
        )?;

        let mut large = mail.clone();
        large
            .text
            .push_str(&"0123456789abcdef\r\n".repeat(8 * 1024));
        is_refusal(&place.send(&account, &large).await?, "mail", 552, "5.3.4")?;

        // The same account may send what is in order, and that is the only thing ever queued.
        let outcome = place
            .send(&account, &Mail::new(&sender, &customer, "in order"))
            .await?;
        ensure!(outcome.accepted, "{outcome:?}");
        let delivered = scenario.receiver.expect(&customer, 1, PATIENCE).await?;
        ensure!(
            delivered[0].only("Subject")? == "in order",
            "{}",
            delivered[0].header_block()
        );
        scenario
            .namespace
            .watch(
                Kind::SmtpRelay,
                RELAY,
                "an empty queue",
                PATIENCE,
                |relay| relay.is_some_and(|relay| relay["status"]["queuedMessages"] == 0),
            )
            .await?;
        ensure!(
            scenario.receiver.count(&customer)? == 1,
            "something else was delivered"
        );
        Ok(())
    })
    .await
}
