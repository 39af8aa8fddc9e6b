//! What the generator looks up for each record: fragments of JSON ready to be copied, and
//! distributions as tables that one random number indexes.

use std::sync::LazyLock;

use super::catalogue::{
    ABUSIVE_AGENT, AGENTS, CLIENT_OFFSET, CLIENTS, ENDPOINTS, ERROR_BURST, LANDING_REFERERS,
    NO_REFERERS, Origin, Statuses, WITHIN_REFERERS, latency_factor,
};
use super::math::{exp, ln, normal_quantile};
use super::rng::Rng;

/// Cells of a latency table and of the table of waiting times.
const FINE: usize = 1024;
/// Cells of a size table.
const COARSE: usize = 256;

/// A distribution's quantiles at equal steps of probability, drawn from by linear interpolation.
pub(super) struct Quantiles(Box<[u32]>);

impl Quantiles {
    /// A lognormal distribution: its median, and the standard deviation of its logarithm. The
    /// outermost two in ten thousand are cut off on either side.
    fn lognormal(median: f64, sigma: f64, cells: usize) -> Self {
        let quantile = |cell: usize| {
            let probability = (cell as f64 / cells as f64).clamp(0.0002, 0.9998);
            (median * exp(sigma * normal_quantile(probability)) + 0.5) as u32
        };
        Self((0..=cells).map(quantile).collect())
    }

    /// The quantile at `bits / 2^32`, where `bits` holds 32 random bits.
    #[inline]
    pub fn at(&self, bits: u64) -> u32 {
        let position = (bits & 0xffff_ffff) * (self.0.len() as u64 - 1);
        let cell = (position >> 32) as usize;
        let (low, high) = (u64::from(self.0[cell]), u64::from(self.0[cell + 1]));
        (low + (((high - low) * (position & 0xffff_ffff)) >> 32)) as u32
    }
}

/// One response status.
pub(super) struct Status {
    /// `200,"response_time":`
    pub fragment: Box<[u8]>,
    /// The factor on the response time, in 1/256.
    pub latency: u64,
    pub body: Body,
}

/// What a response's size is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// What was asked for.
    Full,
    /// Nothing (204, 304).
    None,
    /// A short note (redirects and errors).
    Note,
}

/// A method of an endpoint.
pub(super) struct Variant {
    /// `","method":"GET","endpoint":"/","status_code":`
    pub fragment: Box<[u8]>,
    /// Upper bounds of each status's share of 0..65536, and its index in [`Tables::statuses`].
    statuses: Box<[(u32, u8)]>,
    pub head_only: bool,
}

impl Variant {
    /// The index of the status that 16 random bits choose.
    #[inline]
    pub fn status(&self, bits: u64) -> usize {
        pick_status(&self.statuses, bits)
    }
}

/// One path of the web server.
pub(super) struct EndpointTable {
    methods: [u8; 64],
    variants: Box<[Variant]>,
    /// Response times in microseconds.
    pub latency: Quantiles,
    /// Response sizes in bytes.
    pub size: Quantiles,
    /// `"https://...","request_id":"` or `null,"request_id":"` for 6 random bits.
    referers: [u8; 64],
}

impl EndpointTable {
    /// The method that 6 random bits choose.
    #[inline]
    pub fn variant(&self, bits: u64) -> &Variant {
        &self.variants[usize::from(self.methods[(bits & 63) as usize])]
    }

    /// The referer's index in [`Tables::referers`] that 6 random bits choose.
    #[inline]
    pub fn referer(&self, bits: u64) -> usize {
        usize::from(self.referers[(bits & 63) as usize])
    }
}

/// One client, and its row of the alias table by which clients are chosen.
struct Client {
    text: [u8; 15],
    length: u8,
    /// Below this the column's own client is meant, otherwise `alias`.
    threshold: u32,
    alias: u16,
    agent: u8,
}

pub(super) struct Tables {
    endpoint_slots: [u8; FINE],
    pub endpoints: Box<[EndpointTable]>,
    pub statuses: Box<[Status]>,
    burst: Box<[(u32, u8)]>,
    clients: Box<[Client]>,
    agent_slots: [u8; 256],
    /// `,"user_agent":"...","referer":`
    pub agents: Box<[Box<[u8]>]>,
    pub abusive_agent: Box<[u8]>,
    pub referers: Box<[Box<[u8]>]>,
    /// The exponential distribution of mean 1, by cell.
    waits: Box<[f64]>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(Tables::build);

impl Tables {
    /// The one set of tables, which no option changes; built at the first call, in milliseconds.
    pub fn get() -> &'static Self {
        &TABLES
    }

    /// The endpoint that 10 random bits choose.
    #[inline]
    pub fn endpoint(&self, bits: u64) -> usize {
        usize::from(self.endpoint_slots[(bits as usize) & (FINE - 1)])
    }

    /// The status of an error burst that 16 random bits choose.
    #[inline]
    pub fn burst_status(&self, bits: u64) -> usize {
        pick_status(&self.burst, bits)
    }

    /// The address and the agent's index of the client that two times 32 random bits choose.
    #[inline]
    pub fn client(&self, column: u64, coin: u64) -> (&[u8], usize) {
        let column = super::rng::scale(column, self.clients.len() as u32) as usize;
        let mut client = &self.clients[column];
        if (coin & 0xffff_ffff) as u32 >= client.threshold {
            client = &self.clients[usize::from(client.alias)];
        }
        (&client.text[..usize::from(client.length)], usize::from(client.agent))
    }

    /// The agent's index that 8 random bits choose.
    #[inline]
    pub fn agent(&self, bits: u64) -> usize {
        usize::from(self.agent_slots[(bits & 255) as usize])
    }

    /// An exponentially distributed waiting time of mean 1 for 32 random bits.
    #[inline]
    pub fn wait(&self, bits: u64) -> f64 {
        let cell = ((bits >> 22) & (FINE as u64 - 1)) as usize;
        let within = (bits & 0x3f_ffff) as f64 * (1.0 / 4_194_304.0);
        let (low, high) = (self.waits[cell], self.waits[cell + 1]);
        low + (high - low) * within
    }

    fn build() -> Self {
        let mut codes: Vec<u16> = ENDPOINTS
            .iter()
            .flat_map(|e| e.methods)
            .flat_map(|(_, _, statuses)| *statuses)
            .chain(ERROR_BURST)
            .map(|(code, _)| *code)
            .collect();
        codes.sort_unstable();
        codes.dedup();
        let statuses = codes.iter().map(|code| status(*code)).collect();

        let mut referers: Vec<Option<&str>> = Vec::new();
        for (referer, _) in LANDING_REFERERS.iter().chain(WITHIN_REFERERS) {
            if !referers.contains(referer) {
                referers.push(*referer);
            }
        }
        let endpoints =
            ENDPOINTS.iter().map(|endpoint| endpoint_table(endpoint, &codes, &referers)).collect();
        let agent_slots = slots(AGENTS.iter().map(|(_, weight)| *weight));
        Self {
            endpoint_slots: slots(ENDPOINTS.iter().map(|e| e.weight)),
            endpoints,
            statuses,
            burst: cumulate(ERROR_BURST, &codes),
            clients: clients(&agent_slots),
            agent_slots,
            agents: AGENTS.iter().map(|(agent, _)| agent_fragment(agent)).collect(),
            abusive_agent: agent_fragment(ABUSIVE_AGENT),
            referers: referers.iter().map(|referer| referer_fragment(*referer)).collect(),
            waits: waits(),
        }
    }
}

fn pick_status(cumulated: &[(u32, u8)], bits: u64) -> usize {
    let bits = (bits & 0xffff) as u32;
    // Most requests end as the first, most frequent status says.
    let found = cumulated.iter().find(|(upper, _)| bits < *upper);
    found.or(cumulated.last()).map_or(0, |(_, index)| usize::from(*index))
}

fn cumulate(statuses: Statuses, codes: &[u16]) -> Box<[(u32, u8)]> {
    let total: u32 = statuses.iter().map(|(_, weight)| weight).sum();
    let mut sum = 0;
    statuses
        .iter()
        .map(|(code, weight)| {
            sum += weight;
            let index = codes.iter().position(|known| known == code).unwrap_or(0);
            (sum * 65_536 / total, index as u8)
        })
        .collect()
}

/// Spreads choices over `N` equally likely slots in proportion to their weights.
fn slots<const N: usize>(weights: impl Iterator<Item = u32> + Clone) -> [u8; N] {
    let total: u32 = weights.clone().sum();
    let mut table = [0; N];
    let (mut sum, mut from) = (0, 0);
    for (choice, weight) in weights.enumerate() {
        sum += weight as usize;
        let to = (sum * N + total as usize / 2) / total as usize;
        table[from..to].fill(choice as u8);
        from = to;
    }
    table
}

fn status(code: u16) -> Status {
    Status {
        fragment: format!("{code},\"response_time\":").into_bytes().into(),
        latency: (latency_factor(code) * 256.0 + 0.5) as u64,
        body: match code {
            204 | 304 => Body::None,
            200..=299 => Body::Full,
            _ => Body::Note,
        },
    }
}

fn endpoint_table(
    endpoint: &super::catalogue::Endpoint,
    codes: &[u16],
    referers: &[Option<&str>],
) -> EndpointTable {
    let variants = endpoint.methods.iter().map(|(method, _, statuses)| Variant {
        fragment: format!(
            "\",\"method\":\"{method}\",\"endpoint\":\"{}\",\"status_code\":",
            endpoint.path
        )
        .into_bytes()
        .into(),
        statuses: cumulate(statuses, codes),
        head_only: *method == "HEAD",
    });
    let choices = match endpoint.origin {
        Origin::Landing => LANDING_REFERERS,
        Origin::Within => WITHIN_REFERERS,
        Origin::Probe => NO_REFERERS,
    };
    let chosen: [u8; 64] = slots(choices.iter().map(|(_, weight)| *weight));
    let index_of = |choice: u8| {
        let wanted = choices[usize::from(choice)].0;
        referers.iter().position(|known| *known == wanted).unwrap_or(0) as u8
    };
    EndpointTable {
        methods: slots(endpoint.methods.iter().map(|(_, weight, _)| *weight)),
        variants: variants.collect(),
        latency: Quantiles::lognormal(endpoint.latency.0 * 1000.0, endpoint.latency.1, FINE),
        size: Quantiles::lognormal(endpoint.size.0, endpoint.size.1, COARSE),
        referers: chosen.map(index_of),
    }
}

fn agent_fragment(agent: &str) -> Box<[u8]> {
    format!(",\"user_agent\":\"{agent}\",\"referer\":").into_bytes().into()
}

fn referer_fragment(referer: Option<&str>) -> Box<[u8]> {
    match referer {
        Some(referer) => format!("\"{referer}\",\"request_id\":\""),
        None => "null,\"request_id\":\"".to_owned(),
    }
    .into_bytes()
    .into()
}

/// The clients, busiest first, with Vose's alias table ("A linear algorithm for generating random
/// numbers with a given distribution", 1991) over their weights.
fn clients(agent_slots: &[u8; 256]) -> Box<[Client]> {
    let weights: Vec<f64> = (0..CLIENTS).map(|k| 1.0 / (k as f64 + 1.0 + CLIENT_OFFSET)).collect();
    let total: f64 = weights.iter().sum();
    let mut scaled: Vec<f64> = weights.iter().map(|w| w / total * CLIENTS as f64).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..CLIENTS).partition(|k| scaled[*k] < 1.0);
    let mut table: Vec<(u32, u16)> = (0..CLIENTS).map(|k| (u32::MAX, k as u16)).collect();
    while let (Some(&low), Some(&high)) = (small.last(), large.last()) {
        small.pop();
        table[low] = ((scaled[low] * 4_294_967_296.0) as u32, high as u16);
        scaled[high] -= 1.0 - scaled[low];
        if scaled[high] < 1.0 {
            large.pop();
            small.push(high);
        }
    }
    // The population is the same for every seed: seeds are other days, not other worlds.
    let mut rng = Rng::new(0, 1 << 32);
    table
        .into_iter()
        .enumerate()
        .map(|(k, (threshold, alias))| {
            let address = address(k as u32).to_string();
            let mut text = [0; 15];
            text[..address.len()].copy_from_slice(address.as_bytes());
            Client {
                text,
                length: address.len() as u8,
                threshold,
                alias,
                agent: agent_slots[rng.below(256) as usize],
            }
        })
        .collect()
}

/// The `k`-th client's address, out of the blocks set aside for private networks (RFC 1918) and
/// carriers (RFC 6598), so that no record names a machine of the real Internet. Distinct for
/// `k < 65,536`: an odd multiplier and a shift-xor are bijections on the block's bits.
fn address(k: u32) -> std::net::Ipv4Addr {
    let (block, bits) = match k % 20 {
        0 => (0xc0a8_0000, 16),
        1 | 2 => (0xac10_0000, 20),
        3..=5 => (0x6440_0000, 22),
        _ => (0x0a00_0000, 24),
    };
    let mask = (1u32 << bits) - 1;
    let mut host = k.wrapping_mul(0x9e37_79b1) & mask;
    host ^= host >> (bits / 2);
    host = host.wrapping_mul(0x85eb_ca6b) & mask;
    std::net::Ipv4Addr::from(block | host)
}

/// -ln(1 - p) at equal steps of p, scaled so that the mean of what is drawn is exactly 1.
fn waits() -> Box<[f64]> {
    let quantile = |cell: usize| {
        let p = (cell as f64 / FINE as f64).min(1.0 - 0.25 / FINE as f64);
        -ln(1.0 - p)
    };
    let waits: Vec<f64> = (0..=FINE).map(quantile).collect();
    let mean = waits.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).sum::<f64>() / FINE as f64;
    waits.into_iter().map(|wait| wait / mean).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn clients_are_distinct_and_follow_their_law() {
        let tables = Tables::get();
        let distinct: HashSet<_> =
            tables.clients.iter().map(|c| &c.text[..usize::from(c.length)]).collect();
        assert_eq!(distinct.len(), CLIENTS);

        let mut rng = Rng::new(1, 0);
        let mut counts: HashMap<&[u8], u32> = HashMap::new();
        let draws = 2_000_000;
        for _ in 0..draws {
            *counts.entry(tables.client(rng.next(), rng.next()).0).or_default() += 1;
        }
        let total: f64 = (0..CLIENTS).map(|k| 1.0 / (k as f64 + 1.0 + CLIENT_OFFSET)).sum();
        for k in [0, 1, 10, 100] {
            let wanted = f64::from(draws) / (k as f64 + 1.0 + CLIENT_OFFSET) / total;
            let client = &tables.clients[k];
            let got = counts.get(&client.text[..usize::from(client.length)]).copied().unwrap_or(0);
            assert!((f64::from(got) / wanted - 1.0).abs() < 0.08, "rank {k}: {got} for {wanted}");
        }
        assert!(counts.len() > 19_000, "{}", counts.len());
    }

    #[test]
    fn waits_have_mean_one_and_are_exponential() {
        let tables = Tables::get();
        let mut rng = Rng::new(2, 0);
        let draws: Vec<f64> = (0..1_000_000).map(|_| tables.wait(rng.next())).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((mean - 1.0).abs() < 0.005, "{mean}");
        let above = draws.iter().filter(|wait| **wait > 2.0).count() as f64 / draws.len() as f64;
        assert!((above - (-2.0f64).exp()).abs() < 0.003, "{above}");
    }

    #[test]
    fn quantiles_have_their_median() {
        let quantiles = Quantiles::lognormal(24_000.0, 0.55, FINE);
        assert_eq!(quantiles.at(1 << 31), 24_000);
        assert!(quantiles.at(0) > 1_000 && quantiles.at(u64::MAX) < 24_000 * 8);
    }
}
