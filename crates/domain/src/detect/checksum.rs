//! The check digits of cards, accounts and national numbers.
//!
//! Job: arithmetic over digits that are already cut out of a text.
//!
//! Not its job: finding candidates or looking at what stands around them.
//!
//! Why: a checksum is what turns "nine digits" into evidence, and each is a
//! published formula that is easiest to trust when it stands alone.

/// The values of the ASCII digits in `text`, anything else left out.
pub fn digits(text: &str) -> Vec<u8> {
    text.bytes().filter(u8::is_ascii_digit).map(|b| b - b'0').collect()
}

fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0u64, |sum, d| sum.wrapping_mul(10).wrapping_add(u64::from(*d)))
}

/// ISO/IEC 7812-1, annex B: the last digit makes the doubled sum a multiple of 10.
pub fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, d)| {
            let d = u32::from(*d);
            match (at % 2, d) {
                (0, _) => d,
                (_, 0..=4) => d * 2,
                _ => d * 2 - 9,
            }
        })
        .sum();
    !digits.is_empty() && sum.is_multiple_of(10)
}

/// ISO 7064 MOD 97-10 as ISO 13616 uses it: the first four characters go to the
/// end, letters count as 10 to 35, and the remainder must be 1.
pub fn mod97(account: &[u8]) -> bool {
    if account.len() < 5 {
        return false;
    }
    let (head, tail) = account.split_at(4);
    let mut rest: u32 = 0;
    for byte in tail.iter().chain(head) {
        rest = match byte {
            b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
            b'A'..=b'Z' => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
            b'a'..=b'z' => (rest * 100 + u32::from(byte - b'a') + 10) % 97,
            _ => return false,
        };
    }
    rest == 1
}

/// The length of an IBAN of a country (ISO 13616 registry), if it has any.
pub fn iban_length(country: [u8; 2]) -> Option<usize> {
    const LENGTHS: &[(u8, &[u8])] = &[
        (15, b"NO"),
        (16, b"BE"),
        (18, b"DK FI FO GL NL SD FK"),
        (19, b"MK SI"),
        (20, b"AT BA EE KZ LT LU MN XK"),
        (21, b"CH HR LI LV"),
        (22, b"BG BH CR DE GB GE IE ME RS VA"),
        (23, b"AE GI IL IQ OM SO TL"),
        (24, b"AD CZ DZ ES MD PK RO SA SE SK TN VG"),
        (25, b"AO CV GW LY MZ PT ST"),
        (26, b"IR IS TR"),
        (27, b"BF BI CF CG CM DJ FR GA GQ GR IT KM MC MG ML MR SM SN TD TG"),
        (28, b"AL AZ BJ BY CI CY DO GT HN HU LB NE NI PL SV"),
        (29, b"BR EG MA PS QA UA"),
        (30, b"JO KW MU YE"),
        (31, b"MT SC"),
        (32, b"LC"),
        (33, b"RU"),
    ];
    /// The lengths by both letters: this is asked for each `AB12` in a text.
    const TABLE: [[u8; 26]; 26] = {
        let mut table = [[0; 26]; 26];
        let mut line = 0;
        while line < LENGTHS.len() {
            let (length, names) = LENGTHS[line];
            let mut at = 0;
            while at + 1 < names.len() {
                table[(names[at] - b'A') as usize][(names[at + 1] - b'A') as usize] = length;
                at += 3;
            }
            line += 1;
        }
        table
    };
    let [first, second] = country.map(|b| usize::from(b.to_ascii_uppercase().wrapping_sub(b'A')));
    let length = TABLE.get(first)?.get(second)?;
    (*length > 0).then_some(usize::from(*length))
}

/// Whether a card network issues numbers with this prefix and length.
pub fn card_network(digits: &[u8]) -> bool {
    let Some(head) = digits.get(..6).map(number) else {
        return false;
    };
    let (two, three, four) = (head / 10_000, head / 1_000, head / 100);
    match digits.len() {
        13 => head / 100_000 == 4,
        14 => matches!(three, 300..=305) || matches!(two, 36 | 38 | 39),
        15 => matches!(two, 34 | 37),
        16 => {
            head / 100_000 == 4
                || matches!(two, 51..=55 | 36 | 38 | 39 | 62 | 65 | 81)
                || matches!(three, 644..=649 | 508)
                || matches!(four, 2221..=2720 | 2200..=2204 | 6011 | 3528..=3589)
                || matches!(four, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763)
        }
        17..=19 => {
            head / 100_000 == 4 && digits.len() == 19
                || matches!(two, 62 | 65)
                || matches!(three, 644..=649)
                || matches!(four, 6011 | 3528..=3589 | 2200..=2204)
                || matches!(four, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763)
        }
        _ => false,
    }
}

/// Which US social security numbers can exist (SSA: area, group and serial
/// blocks that are never assigned, and numbers known from advertisements).
pub fn us_ssn(digits: &[u8]) -> bool {
    if digits.len() != 9 {
        return false;
    }
    let all = number(digits);
    let (area, group, serial) = (all / 1_000_000, all / 10_000 % 100, all % 10_000);
    !matches!(area, 0 | 666 | 900..=999) && group != 0 && serial != 0 && !matches!(all, 78_051_120 | 123_456_789)
}

/// The Dutch eleven test over a BSN of eight or nine digits.
pub fn nl_bsn(digits: &[u8]) -> bool {
    if !(8..=9).contains(&digits.len()) || digits.iter().all(|d| *d == 0) {
        return false;
    }
    let sum: i32 =
        digits.iter().rev().zip([-1, 2, 3, 4, 5, 6, 7, 8, 9]).map(|(d, weight)| i32::from(*d) * weight).sum();
    sum % 11 == 0
}

/// ISO 7064 MOD 11,10 over the eleven digits of a German tax number, whose
/// first ten hold one digit twice or three times.
pub fn de_tax_id(digits: &[u8]) -> bool {
    let (Some(body), Some(check)) = (digits.get(..10), digits.get(10)) else {
        return false;
    };
    let mut seen = [0u8; 10];
    for d in body {
        if let Some(count) = seen.get_mut(usize::from(*d)) {
            *count += 1;
        }
    }
    if digits.len() != 11 || body.first() == Some(&0) || !seen.iter().any(|n| matches!(n, 2 | 3)) {
        return false;
    }
    let mut product = 10u32;
    for d in body {
        let sum = match (u32::from(*d) + product) % 10 {
            0 => 10,
            other => other,
        };
        product = sum * 2 % 11;
    }
    (11 - product) % 10 == u32::from(*check)
}

/// The key of a French NIR: 97 minus the remainder of the first thirteen
/// characters, where the Corsican 2A and 2B count as 19 and 18.
pub fn fr_nir(text: &str) -> bool {
    let compact: Vec<u8> = text.bytes().filter(u8::is_ascii_alphanumeric).collect();
    if compact.len() != 15 {
        return false;
    }
    let plain: Vec<u8> = match compact.get(5..7) {
        Some(b"2A" | b"2a") => [&compact[..5], b"19", &compact[7..]].concat(),
        Some(b"2B" | b"2b") => [&compact[..5], b"18", &compact[7..]].concat(),
        _ => compact,
    };
    if !plain.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let values: Vec<u8> = plain.iter().map(|b| b - b'0').collect();
    let (body, key) = values.split_at(13);
    97 - number(body) % 97 == number(key)
}

/// The letter of a Spanish DNI or NIE: the remainder by 23 picks it.
pub fn es_dni(text: &str) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let compact: Vec<u8> = text.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_uppercase()).collect();
    let Some((letter, body)) = compact.split_last() else {
        return false;
    };
    let values: Vec<u8> = body
        .iter()
        .map(|b| match b {
            b'X' => 0,
            b'Y' => 1,
            b'Z' => 2,
            other => other.wrapping_sub(b'0'),
        })
        .collect();
    values.len() == 8 && values.iter().all(|d| *d < 10) && LETTERS.get((number(&values) % 23) as usize) == Some(letter)
}

/// The last letter of an Italian codice fiscale (decree of 23 December 1976):
/// characters in odd places count by a table, those in even places by value.
pub fn it_codice_fiscale(text: &str) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let code = text.as_bytes();
    let (Some(body), Some(check)) = (code.get(..15), code.get(15)) else {
        return false;
    };
    let mut sum = 0;
    for (at, byte) in body.iter().enumerate() {
        let value = match byte.to_ascii_uppercase() {
            digit @ b'0'..=b'9' => digit - b'0',
            letter @ b'A'..=b'Z' => letter - b'A',
            _ => return false,
        };
        sum += if at % 2 == 0 { ODD.get(usize::from(value)).copied().unwrap_or(0) } else { u32::from(value) };
    }
    code.len() == 16 && sum % 26 == u32::from(check.to_ascii_uppercase().wrapping_sub(b'A'))
}
