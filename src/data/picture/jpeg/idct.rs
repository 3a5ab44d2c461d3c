//! The inverse cosine transform of a block: integers with 13 fractional bits, columns and then rows, 16 bits between.

const BITS: u32 = 13;
/// Bits more than a sample that the columns keep for the rows.
const KEPT: u32 = 2;

// cos and sin combinations, times 2^13.
const F_0_298: i32 = 2446;
const F_0_390: i32 = 3196;
const F_0_541: i32 = 4433;
const F_0_765: i32 = 6270;
const F_0_899: i32 = 7373;
const F_1_175: i32 = 9633;
const F_1_501: i32 = 12_299;
const F_1_847: i32 = 15_137;
const F_1_961: i32 = 16_069;
const F_2_053: i32 = 16_819;
const F_2_562: i32 = 20_995;
const F_3_072: i32 = 25_172;

/// Transforms a block of coefficients and writes its 8 x 8 samples to `out`, whose rows are `stride` apart.
pub(super) fn block(coefficients: &[i16; 64], table: &[u16; 64], out: &mut [u8], stride: usize) {
    let dequantised = |i: usize| coefficients[i].wrapping_mul(table[i] as i16);
    let mut columns = [0_i16; 64];
    if coefficients[8..].iter().all(|&c| c == 0) {
        // Every column is even. In 16 bits, as in the vector registers that libjpeg uses.
        (0..64).for_each(|i| columns[i] = dequantised(i % 8).wrapping_shl(KEPT));
    } else {
        for x in 0..8 {
            let line: [i16; 8] = std::array::from_fn(|y| dequantised(y * 8 + x));
            for (y, v) in transform(line, BITS - KEPT).into_iter().enumerate() {
                columns[y * 8 + x] = v;
            }
        }
    }
    for y in 0..8 {
        let line: [i16; 8] = std::array::from_fn(|x| columns[y * 8 + x]);
        let row = transform(line, BITS + KEPT + 3).map(|v| sample(i32::from(v)));
        out[y * stride..y * stride + 8].copy_from_slice(&row);
    }
}

/// Around 0 to a byte.
fn sample(v: i32) -> u8 {
    (v.clamp(-128, 127) + 128) as u8
}

fn transform(line: [i16; 8], shift: u32) -> [i16; 8] {
    let [_, c1, c2, c3, _, c5, c6, c7] = line.map(i32::from);
    // Sums of two stay within 16 bits, as they do in vector registers.
    let sum = |a: i16, b: i16| i32::from(a.wrapping_add(b));
    let tmp3 = c2 * (F_0_541 + F_0_765) + c6 * F_0_541;
    let tmp2 = c2 * F_0_541 + c6 * (F_0_541 - F_1_847);
    let tmp0 = sum(line[0], line[4]) << BITS;
    let tmp1 = i32::from(line[0].wrapping_sub(line[4])) << BITS;
    let even = [tmp0.wrapping_add(tmp3), tmp1.wrapping_add(tmp2), tmp1.wrapping_sub(tmp2), tmp0.wrapping_sub(tmp3)];
    let (z3, z4) = (sum(line[7], line[3]), sum(line[5], line[1]));
    let y3 = z3 * (F_1_175 - F_1_961) + z4 * F_1_175;
    let y4 = z3 * F_1_175 + z4 * (F_1_175 - F_0_390);
    let odd = [
        (c7 * -F_0_899 + c1 * (F_1_501 - F_0_899)).wrapping_add(y4),
        (c5 * -F_2_562 + c3 * (F_3_072 - F_2_562)).wrapping_add(y3),
        (c5 * (F_2_053 - F_2_562) + c3 * -F_2_562).wrapping_add(y4),
        (c7 * (F_0_298 - F_0_899) + c1 * -F_0_899).wrapping_add(y3),
    ];
    let half = 1 << (shift - 1);
    let out = |v: i32| (v.wrapping_add(half) >> shift).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
    std::array::from_fn(|i| {
        if i < 4 { out(even[i].wrapping_add(odd[i])) } else { out(even[7 - i].wrapping_sub(odd[7 - i])) }
    })
}
