//! Sizes in Kubernetes' notation, as whole octets.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Octets of `quantity`, rounded down; `None` when it is no size or does not fit.
pub(crate) fn octets(quantity: &Quantity) -> Option<u64> {
    let text = quantity.0.trim();
    let digits = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u128 = match unit {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        exponent => {
            let exponent = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            10_u128.checked_pow(exponent)?
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // Nine decimals are Kubernetes' own limit for fractions.
    if whole.len() + fraction.len() == 0 || whole.len() > 18 || fraction.len() > 9 {
        return None;
    }
    let scaled: u128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    u64::try_from(scaled.checked_mul(factor)? / divisor).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("1024", Some(1024)),
            ("25Mi", Some(26_214_400)),
            ("50M", Some(50_000_000)),
            ("1.5Gi", Some(1_610_612_736)),
            ("1e6", Some(1_000_000)),
            ("2E3", Some(2000)),
            (".5Ki", Some(512)),
            ("", None),
            ("Mi", None),
            ("-1", None),
            ("1e99", None),
            ("100000000000000000000", None),
            ("12 Mi", None),
            ("1.2.3", None),
        ] {
            assert_eq!(octets(&Quantity(text.to_owned())), expected, "{text}");
        }
    }
}
