//! librdkafka's options: which of them are the user's, and their names.

use super::secret::names_secret;

/// Options of a source that Millpond sets itself, why, and what to write instead.
pub(crate) const OWNED: &[(&str, &str, &str)] = &[
    ("bootstrap.servers", "it is the source's own key", "write `brokers`"),
    ("metadata.broker.list", "it is the source's own key", "write `brokers`"),
    ("group.id", "it is the source's own key", "write `group_id`"),
    ("auto.offset.reset", "it is the source's own key", "write `start`"),
    (
        "enable.auto.commit",
        "positions move with the epoch that holds their rows, or rows would be lost or repeated",
        "leave it out",
    ),
    (
        "auto.commit.interval.ms",
        "positions move with the epoch that holds their rows, or rows would be lost or repeated",
        "write `interval` in [checkpoint]",
    ),
    (
        "auto.commit.enable",
        "positions move with the epoch that holds their rows, or rows would be lost or repeated",
        "leave it out",
    ),
    (
        "enable.auto.offset.store",
        "positions move with the epoch that holds their rows, or rows would be lost or repeated",
        "leave it out",
    ),
    (
        "enable.partition.eof",
        "the readers depend on knowing whether a partition has been read to its end",
        "leave it out",
    ),
];

const EXACTLY_ONCE: &str = "records are written exactly once, in transactions";

/// As [`OWNED`], of a sink.
pub(crate) const OWNED_BY_PRODUCER: &[(&str, &str, &str)] = &[
    ("bootstrap.servers", "it is the sink's own key", "write `brokers`"),
    ("metadata.broker.list", "it is the sink's own key", "write `brokers`"),
    ("transactional.id", "it is made of the names of the pipeline and the sink", "leave it out"),
    ("transaction.timeout.ms", "it is the sink's own key", "write `transaction_timeout`"),
    ("enable.idempotence", EXACTLY_ONCE, "leave it out"),
    ("enable.gapless.guarantee", EXACTLY_ONCE, "leave it out"),
    ("acks", EXACTLY_ONCE, "leave it out"),
    ("request.required.acks", EXACTLY_ONCE, "leave it out"),
    ("max.in.flight", EXACTLY_ONCE, "leave it out"),
    ("max.in.flight.requests.per.connection", EXACTLY_ONCE, "leave it out"),
];

/// Names of other Kafka clients for what librdkafka calls otherwise or does not have.
pub(crate) const OTHER_PRODUCERS: &[(&str, &str)] = &[
    ("sasl.jaas.config", "librdkafka has `sasl.username` and `sasl.password` instead"),
    ("ssl.truststore.location", "librdkafka reads PEM: `ssl.ca.location`"),
    ("ssl.truststore.password", "librdkafka reads PEM, which needs none: `ssl.ca.location`"),
    ("buffer.memory", "librdkafka has `queue.buffering.max.kbytes`"),
    ("max.request.size", "librdkafka has `message.max.bytes`"),
    ("key.serializer", "write the sink's `key` or `key_column`"),
    ("value.serializer", "write the sink's `value`"),
];

/// As [`OTHER_PRODUCERS`], of a source.
pub(crate) const OTHER_CONSUMERS: &[(&str, &str)] = &[
    ("sasl.jaas.config", "librdkafka has `sasl.username` and `sasl.password` instead"),
    ("ssl.truststore.location", "librdkafka reads PEM: `ssl.ca.location`"),
    ("ssl.truststore.password", "librdkafka reads PEM, which needs none: `ssl.ca.location`"),
    ("max.poll.records", "write `max_rows` in the source's `batch` table"),
    ("key.deserializer", "write the source's `format` table"),
    ("value.deserializer", "write the source's `format` table"),
];

/// Options that name a file.
pub(crate) const FILES: &[&str] =
    &["ssl.certificate.location", "ssl.crl.location", "ssl.key.location", "ssl.keystore.location"];

/// The names of librdkafka 2.12's options for all its clients, to suggest the nearest one.
/// Whether an option is valid is asked of librdkafka itself.
#[rustfmt::skip]
pub(crate) const SHARED: &[&str] = &[
    "allow.auto.create.topics", "api.version.fallback.ms", "api.version.request",
    "api.version.request.timeout.ms", "bootstrap.servers", "broker.address.family",
    "broker.address.ttl", "broker.version.fallback", "builtin.features",
    "client.dns.lookup", "client.id", "client.rack", "connections.max.idle.ms", "debug",
    "enable.metrics.push", "enable.random.seed", "enable.sasl.oauthbearer.unsecure.jwt",
    "enable.ssl.certificate.verification", "https.ca.location", "https.ca.pem",
    "internal.termination.signal", "log.connection.close", "log.queue", "log.thread.name",
    "log_level", "max.in.flight", "max.in.flight.requests.per.connection",
    "message.copy.max.bytes", "message.max.bytes", "metadata.broker.list",
    "metadata.max.age.ms", "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy", "plugin.library.paths", "receive.message.max.bytes",
    "reconnect.backoff.jitter.ms", "reconnect.backoff.max.ms", "reconnect.backoff.ms",
    "retry.backoff.max.ms", "retry.backoff.ms", "sasl.kerberos.keytab",
    "sasl.kerberos.kinit.cmd", "sasl.kerberos.min.time.before.relogin",
    "sasl.kerberos.principal", "sasl.kerberos.service.name", "sasl.mechanism",
    "sasl.mechanisms", "sasl.oauthbearer.assertion.algorithm",
    "sasl.oauthbearer.assertion.claim.aud", "sasl.oauthbearer.assertion.claim.exp.seconds",
    "sasl.oauthbearer.assertion.claim.iss", "sasl.oauthbearer.assertion.claim.jti.include",
    "sasl.oauthbearer.assertion.claim.nbf.seconds", "sasl.oauthbearer.assertion.claim.sub",
    "sasl.oauthbearer.assertion.file", "sasl.oauthbearer.assertion.jwt.template.file",
    "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret", "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions", "sasl.oauthbearer.grant.type",
    "sasl.oauthbearer.metadata.authentication.type", "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope", "sasl.oauthbearer.token.endpoint.url", "sasl.password",
    "sasl.username", "security.protocol", "socket.blocking.max.ms",
    "socket.connection.setup.timeout.ms", "socket.keepalive.enable", "socket.max.fails",
    "socket.nagle.disable", "socket.receive.buffer.bytes", "socket.send.buffer.bytes",
    "socket.timeout.ms", "ssl.ca.certificate.stores", "ssl.ca.location", "ssl.ca.pem",
    "ssl.certificate.location", "ssl.certificate.pem", "ssl.cipher.suites",
    "ssl.crl.location", "ssl.curves.list", "ssl.endpoint.identification.algorithm",
    "ssl.engine.id", "ssl.engine.location", "ssl.key.location", "ssl.key.password",
    "ssl.key.pem", "ssl.keystore.location", "ssl.keystore.password", "ssl.providers",
    "ssl.sigalgs.list", "ssl_ca", "ssl_certificate", "ssl_engine_callback_data", "ssl_key",
    "statistics.interval.ms", "topic.blacklist", "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.cnt", "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.interval.ms", "topic.metadata.refresh.sparse",
];

/// Those for consumers.
#[rustfmt::skip]
pub(crate) const CONSUMER: &[&str] = &[
    "auto.commit.enable", "auto.commit.interval.ms", "auto.offset.reset", "check.crcs",
    "consume.callback.max.messages", "coordinator.query.interval.ms", "enable.auto.commit",
    "enable.auto.offset.store", "enable.partition.eof", "fetch.error.backoff.ms",
    "fetch.max.bytes", "fetch.message.max.bytes", "fetch.min.bytes",
    "fetch.queue.backoff.ms", "fetch.wait.max.ms", "group.id", "group.instance.id",
    "group.protocol", "group.protocol.type", "group.remote.assignor",
    "heartbeat.interval.ms", "isolation.level", "max.partition.fetch.bytes",
    "max.poll.interval.ms", "offset.store.method", "offset.store.path",
    "offset.store.sync.interval.ms", "partition.assignment.strategy",
    "queued.max.messages.kbytes", "queued.min.messages", "session.timeout.ms",
];

/// Those for producers.
#[rustfmt::skip]
pub(crate) const PRODUCER: &[&str] = &[
    "acks", "batch.num.messages", "batch.size", "compression.codec", "compression.level",
    "compression.type", "delivery.timeout.ms", "enable.gapless.guarantee",
    "enable.idempotence", "linger.ms", "message.send.max.retries", "message.timeout.ms",
    "partitioner", "queue.buffering.backpressure.threshold", "queue.buffering.max.kbytes",
    "queue.buffering.max.messages", "queue.buffering.max.ms", "request.required.acks",
    "request.timeout.ms", "retries", "sticky.partitioning.linger.ms",
    "transaction.timeout.ms", "transactional.id",
];

/// Whether the value of an option must not be shown: if its name speaks of a secret, and if
/// nobody knows the name, since it may be a misspelt one that does.
pub(crate) fn is_secret_option(name: &str) -> bool {
    names_secret(name) || ![SHARED, CONSUMER, PRODUCER].iter().any(|names| names.contains(&name))
}
