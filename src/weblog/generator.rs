//! The generator: one record after the other, out of tables and one stream of random numbers.

use super::WeblogError;
use super::format::{Timestamps, hex, push_decimal, push_tenths};
use super::malformed::{Malformation, corrupt};
use super::rng::{GOLDEN, Rng, mix, scale};
use super::script::{Script, TrueAnomaly};
use super::tables::{Body, Tables};
use super::traffic::{Change, Surplus, Traffic};

/// 2026-01-01T00:00:00Z in microseconds since the Unix epoch: where a log starts by default.
pub const DEFAULT_START: i64 = 1_767_225_600_000_000;

/// The longest log, in microseconds of event time: 10,000 days. Within it, times are exact in a
/// double.
pub const MAX_SPAN: i64 = 10_000 * 86_400_000_000;

const MAX_LAG: i64 = 86_400_000_000;
/// 9970-01-01T00:00:00Z: a log of the longest span from there ends within the year 9999.
const LAST_START: i64 = 252_455_616_000_000_000;

/// How many requests there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// A second of event time.
    PerEventSecond(f64),
    /// A second of wall time, at the time scale.
    PerWallSecond(f64),
}

/// What a [`Generator`] is to write.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratorOptions {
    /// The same seed (and other options) gives the same bytes.
    pub seed: u64,
    /// The first instant, microseconds since the Unix epoch.
    pub start: i64,
    /// The usual number of requests; anomalies come on top.
    pub rate: Rate,
    /// Seconds of event time per second of wall time, for [`Rate::PerWallSecond`].
    pub time_scale: f64,
    /// How much the hour of the day (UTC) changes the rate: 0 not at all, 1 as on a public site.
    pub diurnal: f64,
    /// What goes wrong.
    pub script: Script,
    /// Records are up to this late, evenly distributed; microseconds.
    pub disorder_us: i64,
    /// Share of the records that are late.
    pub late: f64,
    /// How late those are: from, to; microseconds.
    pub late_by_us: (i64, i64),
    /// Share of the records that are broken.
    pub malformed: f64,
}

impl Default for GeneratorOptions {
    /// A thousand requests a second of event time from 2026 on, 5 s of disorder, one in a thousand
    /// late by 150 to 600 s, one in two thousand broken, nothing scripted.
    fn default() -> Self {
        Self {
            seed: 0,
            start: DEFAULT_START,
            rate: Rate::PerEventSecond(1000.0),
            time_scale: 1.0,
            diurnal: 0.0,
            script: Script::none(),
            disorder_us: 5_000_000,
            late: 0.001,
            late_by_us: (150_000_000, 600_000_000),
            malformed: 0.0005,
        }
    }
}

impl GeneratorOptions {
    /// Usual requests per second of event time.
    pub fn rate_per_event_second(&self) -> f64 {
        match self.rate {
            Rate::PerEventSecond(rate) => rate,
            Rate::PerWallSecond(rate) => rate / self.time_scale,
        }
    }

    fn check(&self) -> Result<(), WeblogError> {
        let refuse = |what: &str| Err(WeblogError::invalid(what));
        let rate = self.rate_per_event_second();
        if !(self.time_scale > 0.0 && self.time_scale <= 1e6) {
            return refuse("the time scale has to be above 0, and at most 1,000,000");
        }
        if !(1e-4..=1e9).contains(&rate) {
            return refuse("the rate has to be 0.0001 to 1,000,000,000 a second of event time");
        }
        for (name, share) in
            [("late", self.late), ("malformed", self.malformed), ("diurnal", self.diurnal)]
        {
            if !(0.0..=1.0).contains(&share) {
                return Err(WeblogError::invalid(format!(
                    "'{name}' has to be 0 to 1, not {share}"
                )));
            }
        }
        if !(0..=MAX_LAG).contains(&self.disorder_us) {
            return refuse("the disorder has to be 0 to 24 hours");
        }
        let (from, to) = self.late_by_us;
        if from < 0 || to < from || to > MAX_LAG {
            return refuse("late records have to be late by 0 to 24 hours, the lesser time first");
        }
        if !(0..=LAST_START).contains(&self.start) {
            return refuse("the start has to be in the years 1970 to 9969");
        }
        Ok(())
    }
}

/// What a generator has written so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Records, broken ones included.
    pub records: u64,
    /// Records that are late by more than the disorder; those that are broken too, included.
    pub late: u64,
    /// Records that belong to a spike or to an abusive client.
    pub surplus: u64,
    /// Broken records of each kind, in the order of [`Malformation::ALL`].
    pub malformed_by_kind: [u64; 6],
}

impl Stats {
    /// Broken records.
    pub fn malformed(&self) -> u64 {
        self.malformed_by_kind.iter().sum()
    }
}

/// `{"timestamp":"..........","ip":"`, the timestamp to be filled in.
const HEAD: [u8; 46] = *b"{\"timestamp\":\"0000-00-00T00:00:00.000Z\",\"ip\":\"";
const TIMESTAMP: std::ops::Range<usize> = 14..38;

/// Writes a web server's log, as JSON objects.
///
/// Everything follows from the [options](GeneratorOptions): not from the clock, the machine, the
/// number of threads, or how many records are asked for at a time.
pub struct Generator {
    options: GeneratorOptions,
    tables: &'static Tables,
    traffic: Traffic,
    /// Requests: when, by whom, for what.
    requests: Rng,
    /// Lateness and breakage, apart, so that they change nothing else about the log.
    faults: Rng,
    late_below: u64,
    malformed_below: u64,
    /// Arrival of the record to be written next, microseconds since the start.
    next: f64,
    /// 32 random bits that came with it.
    next_lag: u64,
    /// Everything that arrives before this, in microseconds since the start, is written.
    reached: i64,
    sequence: u64,
    request_ids: u64,
    timestamps: Timestamps,
    head: [u8; HEAD.len()],
    stats: Stats,
}

impl Generator {
    /// A generator at the start of its log.
    ///
    /// # Errors
    /// [`WeblogError::Invalid`] names the option that makes no sense.
    pub fn new(options: GeneratorOptions) -> Result<Self, WeblogError> {
        options.check()?;
        let max_lag = options.disorder_us.max(options.late_by_us.1);
        let traffic = Traffic::new(
            options.script.clone(),
            options.start,
            options.rate_per_event_second(),
            options.diurnal,
            max_lag,
        );
        let share = |share: f64| (share * 4_294_967_296.0) as u64;
        let mut generator = Self {
            tables: Tables::get(),
            traffic,
            requests: Rng::new(options.seed, 0),
            faults: Rng::new(options.seed, 1),
            late_below: share(options.late),
            malformed_below: share(options.malformed),
            next: 0.0,
            next_lag: 0,
            reached: 0,
            sequence: 0,
            request_ids: mix(options.seed ^ GOLDEN),
            timestamps: Timestamps::new(),
            head: HEAD,
            stats: Stats::default(),
            options,
        };
        generator.draw_next();
        Ok(generator)
    }

    /// The options it was made with.
    pub fn options(&self) -> &GeneratorOptions {
        &self.options
    }

    /// Appends the next `n` records to `buffer`, each followed by a line feed, and for each the
    /// position of that line feed to `ends`; [`records`](super::records) takes them apart again.
    /// Nothing is allocated once the two have grown to their working size.
    ///
    /// Returns the number of records, which is below `n` only where the log reaches [`MAX_SPAN`].
    pub fn fill(&mut self, buffer: &mut Vec<u8>, ends: &mut Vec<usize>, n: usize) -> usize {
        self.fill_until(buffer, ends, i64::MAX, n)
    }

    /// Like [`fill`](Self::fill), but only what arrives before `until` (event time, microseconds
    /// since the Unix epoch).
    pub fn fill_until(
        &mut self,
        buffer: &mut Vec<u8>,
        ends: &mut Vec<usize>,
        until: i64,
        n: usize,
    ) -> usize {
        let until = until.saturating_sub(self.options.start).min(MAX_SPAN);
        let before = until as f64;
        ends.reserve(n.min(1 << 16));
        for written in 0..n {
            if self.next >= before {
                self.reached = self.reached.max(until);
                return written;
            }
            self.write_record(buffer);
            ends.push(buffer.len());
            buffer.push(b'\n');
            self.reached = self.reached.max(self.next as i64);
            self.draw_next();
        }
        n
    }

    /// How far the log has come: event time, microseconds since the Unix epoch. Records are
    /// written in the order of their arrival, so they carry this time or an earlier one.
    pub fn event_time_now(&self) -> i64 {
        self.options.start + self.reached
    }

    /// Whether the log has reached [`MAX_SPAN`] and goes on no further.
    pub fn is_over(&self) -> bool {
        self.reached >= MAX_SPAN
    }

    /// When the next record arrives: event time, microseconds since the Unix epoch.
    pub fn next_event_time(&self) -> i64 {
        self.options.start.saturating_add(self.next as i64)
    }

    /// Leaves out what arrives before event time `to`, as if the log had not been kept.
    pub fn skip_to(&mut self, to: i64) {
        let to = to.saturating_sub(self.options.start).min(MAX_SPAN);
        if to > self.reached {
            self.traffic.skip_to(to as f64);
            self.reached = to;
            self.draw_next();
        }
    }

    /// What has been written.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The anomalies that have begun, in order of time; what is still going on ends
    /// [now](Self::event_time_now).
    pub fn ground_truth(&self) -> Vec<TrueAnomaly> {
        self.options.script.ground_truth(self.options.start, self.event_time_now())
    }

    #[inline]
    fn draw_next(&mut self) {
        let bits = self.requests.next();
        self.next = self.traffic.advance(self.tables.wait(bits));
        self.next_lag = bits >> 32;
    }

    #[inline]
    fn write_record(&mut self, buffer: &mut Vec<u8>) {
        let tables = self.tables;
        let start = buffer.len();
        let arrival = self.next as i64;

        // One number for what is asked for, one for how large and by whom, one for the rest.
        let what = self.requests.next();
        let who = self.requests.next();
        let rest = self.requests.next();
        let faults = self.faults.next();

        let mut lag_limit = self.options.disorder_us;
        let mut endpoint = tables.endpoint(what);
        let mut abusive = None;
        let mut late = faults & 0xffff_ffff < self.late_below;
        if self.traffic.surplus > 0.0
            && let Some(surplus) = surplus(&self.traffic, &mut self.requests)
        {
            // What an anomaly adds is all within its time, so that the truth has sharp edges.
            lag_limit = lag_limit.min(arrival - surplus.start);
            late = false;
            endpoint = surplus.endpoint.unwrap_or(endpoint);
            abusive = surplus.client.as_deref();
            self.stats.surplus += 1;
        }
        let lag = if late {
            self.stats.late += 1;
            let (from, to) = self.options.late_by_us;
            // The fault's own number decided that it is late: another has to say by how much.
            from + below(self.faults.next() >> 32, to - from)
        } else {
            below(self.next_lag, lag_limit)
        };
        let at = arrival - lag;

        let place = &tables.endpoints[endpoint];
        let variant = place.variant(what >> 10);
        let mut status = variant.status(what >> 16);
        let mut slow_down = None;
        for effect in &self.traffic.effects {
            if effect.applies(at, endpoint) {
                match effect.change {
                    Change::Fail(below) => {
                        let bits = self.requests.next();
                        if bits >> 32 < below {
                            status = tables.burst_status(bits);
                        }
                    }
                    Change::Slow(factor) => {
                        slow_down = Some(slow_down.map_or(factor, |other: f64| other * factor));
                    }
                }
            }
        }
        let status = &tables.statuses[status];
        let mut tenths =
            (u64::from(place.latency.at(what >> 32)) * status.latency / 256 + 50) / 100;
        if let Some(factor) = slow_down {
            tenths = (tenths as f64 * factor) as u64;
        }
        let size = match status.body {
            Body::None => 0,
            Body::Note => 160 + u64::from(scale(who, 352)),
            Body::Full if variant.head_only => 0,
            Body::Full => u64::from(place.size.at(who)),
        };
        let (ip, own_agent) = tables.client(who >> 32, rest);

        let ms = (self.options.start + at).div_euclid(1000);
        // TIMESTAMP is 24 bytes long, which the compiler sees.
        if let Some(field) = self.head[TIMESTAMP].first_chunk_mut() {
            self.timestamps.write(ms, field);
        }
        buffer.extend_from_slice(&self.head);
        buffer.extend_from_slice(abusive.map_or(ip, str::as_bytes));
        buffer.extend_from_slice(&variant.fragment);
        buffer.extend_from_slice(&status.fragment);
        push_tenths(buffer, tenths);
        buffer.extend_from_slice(b",\"bytes\":");
        push_decimal(buffer, size);
        buffer.extend_from_slice(if abusive.is_some() {
            &tables.abusive_agent
        } else if (rest >> 32) & 15 == 0 {
            // Several people behind one address.
            &tables.agents[tables.agent(rest >> 36)]
        } else {
            &tables.agents[own_agent]
        });
        buffer.extend_from_slice(&tables.referers[place.referer(rest >> 44)]);
        let mut tail = *b"0000000000000000\"}";
        // A bijection of the record's number: unique within a log, and it looks like chance.
        tail[..16]
            .copy_from_slice(&hex(mix(self.sequence.wrapping_mul(GOLDEN) ^ self.request_ids)));
        buffer.extend_from_slice(&tail);

        self.sequence += 1;
        self.stats.records += 1;
        if faults >> 32 < self.malformed_below {
            self.break_record(buffer, start);
        }
    }

    #[cold]
    fn break_record(&mut self, buffer: &mut Vec<u8>, start: usize) {
        let kind = self.faults.below(Malformation::ALL.len() as u32) as usize;
        corrupt(buffer, start, Malformation::ALL[kind], &mut self.faults);
        self.stats.malformed_by_kind[kind] += 1;
    }
}

/// The anomaly that the next request is due to, if it is not part of the usual traffic.
#[cold]
fn surplus<'a>(traffic: &'a Traffic, rng: &mut Rng) -> Option<&'a Surplus> {
    let mut left = rng.unit() * (1.0 + traffic.surplus) - 1.0;
    if left < 0.0 {
        return None;
    }
    let found = traffic.surpluses.iter().find(|surplus| {
        left -= surplus.factor;
        left < 0.0
    });
    // Rounding may leave a crumb beyond the last.
    found.or(traffic.surpluses.last())
}

/// Maps 32 random bits to `0..=limit` microseconds.
#[inline]
fn below(bits: u64, limit: i64) -> i64 {
    // limit is at most a day, 2^37: the product stays within 2^69.
    ((u128::from(bits & 0xffff_ffff) * (limit.max(0) as u128 + 1)) >> 32) as i64
}
