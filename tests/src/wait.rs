//! Waiting for something that can be observed, never for time to pass.

use std::time::{Duration, Instant};

use anyhow::bail;

/// How often a record that has no watch of its own (a file, a log, a port) is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Looks until `look` returns `Ok(Some(_))`, and fails after `limit` with what was awaited and what
/// was last seen.
///
/// `look` answers `Err` with what it saw instead when there is nothing to return yet.
pub async fn until<T, Looking>(
    awaited: &str,
    limit: Duration,
    mut look: impl FnMut() -> Looking,
) -> anyhow::Result<T>
where
    Looking: Future<Output = Result<T, String>>,
{
    let start = Instant::now();
    loop {
        let seen = match look().await {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        if start.elapsed() > limit {
            bail!("not within {limit:?}: {awaited}; last seen: {seen}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until something listens at `address`.
pub async fn for_port(address: std::net::SocketAddr, limit: Duration) -> anyhow::Result<()> {
    until(&format!("a listener at {address}"), limit, || async move {
        match tokio::net::TcpStream::connect(address).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_with_what_was_found_or_says_what_was_seen() {
        let mut looks = 0;
        let found = until("three looks", Duration::from_secs(5), || {
            looks += 1;
            let now = looks;
            async move {
                if now == 3 {
                    Ok(now)
                } else {
                    Err(format!("look {now}"))
                }
            }
        })
        .await
        .unwrap();
        assert_eq!(found, 3);
        let error = until("a herring", Duration::ZERO, || async {
            Err::<(), _>("only cod".to_owned())
        })
        .await
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("a herring") && error.contains("only cod"),
            "{error}"
        );
    }
}
