// Threefry-2x32 with 20 rounds (Salmon et al. 2011). It uses integer arithmetic only, so its results are bit-identical
// on every device. Twin: Counter in src/random.rs.

fn rotate(x: u32, by: u32) -> u32 {
    return (x << by) | (x >> (32u - by));
}

fn mix(x: vec2<u32>, a: u32, b: u32, c: u32, d: u32) -> vec2<u32> {
    var v = x;
    v.x += v.y; v.y = rotate(v.y, a) ^ v.x;
    v.x += v.y; v.y = rotate(v.y, b) ^ v.x;
    v.x += v.y; v.y = rotate(v.y, c) ^ v.x;
    v.x += v.y; v.y = rotate(v.y, d) ^ v.x;
    return v;
}

fn threefry(key: vec2<u32>, counter: vec2<u32>) -> vec2<u32> {
    let last = key.x ^ key.y ^ 0x1bd11bdau;
    var v = counter + key;
    v = mix(v, 13u, 15u, 26u, 6u) + vec2(key.y, last + 1u);
    v = mix(v, 17u, 29u, 16u, 24u) + vec2(last, key.x + 2u);
    v = mix(v, 13u, 15u, 26u, 6u) + vec2(key.x, key.y + 3u);
    v = mix(v, 17u, 29u, 16u, 24u) + vec2(key.y, last + 4u);
    v = mix(v, 13u, 15u, 26u, 6u) + vec2(last, key.x + 5u);
    return v;
}
