//! Frames from the outside: is there a payload in these bytes?
//!
//! Written against the schema and not with the transport's own decoder, so that a mistake there
//! does not hide itself from the checks.

use bytes::Bytes;

/// The schema's field of a payload in `Frame`.
const PAYLOAD: u64 = 4;

/// The payload in a frame, if it has one.
pub(crate) fn payload(frame: &Bytes) -> Result<Option<Bytes>, ()> {
    let mut at = 0;
    let mut found = None;
    while at < frame.len() {
        let key = varint(frame, &mut at)?;
        match key & 7 {
            0 => {
                varint(frame, &mut at)?;
            }
            2 => {
                let length = usize::try_from(varint(frame, &mut at)?).map_err(|_| ())?;
                let end = at.checked_add(length).filter(|end| *end <= frame.len()).ok_or(())?;
                if key >> 3 == PAYLOAD {
                    found = Some(frame.slice(at..end));
                }
                at = end;
            }
            _ => return Err(()),
        }
    }
    Ok(found)
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<u64, ()> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or(())?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_payload_behind_the_numbers() {
        let frame = Bytes::from_static(&[0x08, 0x81, 0x01, 0x10, 0x07, 0x22, 0x03, b'a', b'b', b'c']);
        assert_eq!(payload(&frame), Ok(Some(Bytes::from_static(b"abc"))));
        assert_eq!(payload(&Bytes::from_static(&[0x08, 0x01, 0x2a, 0x00])), Ok(None));
        assert_eq!(payload(&Bytes::from_static(&[0x22, 0x03, b'a'])), Err(()));
    }
}
