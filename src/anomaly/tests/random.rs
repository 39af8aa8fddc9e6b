//! Reproducible random numbers of the distributions that traffic has.

/// xoshiro256++ (D. Blackman and S. Vigna, 2018), seeded by splitmix64.
pub struct Random {
    state: [u64; 4],
}

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut x = seed;
        let state = std::array::from_fn(|_| {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Random { state }
    }

    fn next(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// In (0, 1).
    pub fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        let (u, v) = (self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    pub fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    /// Marsaglia and Tsang, 2000; scale 1.
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * self.uniform().powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.uniform().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// Exact: large means are halved by gamma variates (Ahrens and Dieter, 1974).
    pub fn poisson(&mut self, mut mean: f64) -> f64 {
        let mut count = 0.0;
        while mean > 30.0 {
            let m = (mean * 7.0 / 8.0).floor();
            let x = self.gamma(m);
            if x > mean {
                return count + self.binomial(m - 1.0, mean / x);
            }
            count += m;
            mean -= x;
        }
        let limit = (-mean).exp();
        let mut product = self.uniform();
        while product > limit {
            count += 1.0;
            product *= self.uniform();
        }
        count
    }

    /// Exact: large numbers are split by beta variates (Relles, 1972).
    pub fn binomial(&mut self, mut n: f64, mut p: f64) -> f64 {
        let mut count = 0.0;
        while n > 40.0 {
            let m = (n / 2.0).floor() + 1.0;
            let (x, y) = (self.gamma(m), self.gamma(n + 1.0 - m));
            let b = x / (x + y);
            if b <= p {
                count += m;
                n -= m;
                p = (p - b) / (1.0 - b);
            } else {
                n = m - 1.0;
                p /= b;
            }
        }
        for _ in 0..n as u32 {
            count += f64::from(u8::from(self.uniform() < p));
        }
        count
    }
}

/// Ranks by Zipf's law, by inversion.
pub struct Zipf {
    cumulated: Vec<f64>,
}

impl Zipf {
    pub fn new(ranks: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let cumulated = (1..=ranks)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        Zipf { cumulated }
    }

    pub fn rank(&self, random: &mut Random) -> usize {
        let total = self.cumulated.last().copied().unwrap_or(1.0);
        let at = random.uniform() * total;
        self.cumulated.partition_point(|c| *c < at)
    }
}

#[test]
fn the_distributions_have_their_moments() {
    let mut random = Random::new(1);
    let mut check = |mut draw: Box<dyn FnMut(&mut Random) -> f64>, mean: f64, variance: f64| {
        let n = 40_000;
        let values: Vec<f64> = (0..n).map(|_| draw(&mut random)).collect();
        let m = values.iter().sum::<f64>() / f64::from(n);
        let v = values.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / f64::from(n);
        assert!((m - mean).abs() < 5.0 * (variance / f64::from(n)).sqrt(), "mean {m}, not {mean}");
        assert!((v / variance - 1.0).abs() < 0.08, "variance {v}, not {variance}");
    };
    check(Box::new(|r| r.normal()), 0.0, 1.0);
    check(Box::new(|r| r.gamma(2.5)), 2.5, 2.5);
    check(Box::new(|r| r.poisson(5.0)), 5.0, 5.0);
    check(Box::new(|r| r.poisson(900.0)), 900.0, 900.0);
    check(Box::new(|r| r.binomial(20.0, 0.1)), 2.0, 1.8);
    check(Box::new(|r| r.binomial(1000.0, 0.3)), 300.0, 210.0);
    let zipf = Zipf::new(20_000, 1.1);
    let top = (0..40_000).filter(|_| zipf.rank(&mut random) == 0).count();
    assert!((5_000..6_800).contains(&top), "{top}");
}
