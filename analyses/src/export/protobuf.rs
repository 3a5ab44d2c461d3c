//! As much of protocol buffers as TensorBoard's events need (tensorflow/core/util/event.proto, summary.proto), and the
//! framing of their records (tensorflow/core/lib/io/record_writer.h).

/// Appends `value` in base 128.
fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn key(to: &mut Vec<u8>, field: u64, wire: u64) {
    varint(to, field << 3 | wire);
}

/// A `double` field.
pub(super) fn double(to: &mut Vec<u8>, field: u64, value: f64) {
    key(to, field, 1);
    to.extend(value.to_le_bytes());
}

/// A `float` field.
pub(super) fn float(to: &mut Vec<u8>, field: u64, value: f32) {
    key(to, field, 5);
    to.extend(value.to_le_bytes());
}

/// An `int64` field.
pub(super) fn int(to: &mut Vec<u8>, field: u64, value: u64) {
    key(to, field, 0);
    varint(to, value);
}

/// A `bytes`, `string` or message field.
pub(super) fn bytes(to: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(to, field, 2);
    varint(to, value.len() as u64);
    to.extend(value);
}

/// A packed `repeated double` field.
pub(super) fn doubles(to: &mut Vec<u8>, field: u64, values: &[f64]) {
    let packed: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    bytes(to, field, &packed);
}

/// CRC-32C (Castagnoli), reflected.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

pub(super) fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc: u32, byte| crc >> 8 ^ TABLE[((crc ^ u32::from(*byte)) & 0xFF) as usize])
}

/// The checksum that records carry: rotated and shifted, since a checksum of data that hold checksums is weak.
pub(super) fn masked(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// A record: length, its checksum, data, their checksum.
pub(super) fn record(to: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    to.extend(length);
    to.extend(masked(&length).to_le_bytes());
    to.extend(data);
    to.extend(masked(data).to_le_bytes());
}

/// The records of a file, their checksums verified.
#[cfg(test)]
pub(crate) fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let number = |b: &[u8]| u32::from_le_bytes(b.try_into().unwrap());
    while !bytes.is_empty() {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(number(&bytes[8..12]), masked(&bytes[..8]));
        let data = &bytes[12..12 + length];
        assert_eq!(number(&bytes[12 + length..16 + length]), masked(data));
        found.push(data.to_vec());
        bytes = &bytes[16 + length..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_standard() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
    }

    #[test]
    fn varints() {
        let mut to = Vec::new();
        int(&mut to, 2, 300);
        assert_eq!(to, [0x10, 0xAC, 0x02]);
    }
}
