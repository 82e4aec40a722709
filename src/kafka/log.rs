//! librdkafka's own words, in our log.

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

/// A line of librdkafka's log.
pub(super) fn client_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(target: "kafka", facility, detail = message, "the Kafka client reports an error");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
            tracing::info!(target: "kafka", facility, detail = message, "the Kafka client reports");
        }
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(target: "kafka", facility, detail = message, "the Kafka client reports");
        }
    }
}

/// An error that belongs to no call: a broker that is away, say. librdkafka goes on by itself.
pub(super) fn client_error(error: &KafkaError, reason: &str) {
    tracing::warn!(target: "kafka", error = %error, reason, "the Kafka client has trouble and goes on trying");
}
