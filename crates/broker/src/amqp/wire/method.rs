//! Every method of AMQP 0-9-1, and those that RabbitMQ adds (`update-secret`, `blocked`,
//! `unblocked`, exchange-to-exchange bindings, `nack`, `confirm`), from one table.

use super::read::{Field as _, Malformed, Reader};
use super::write::{WriteField as _, Writer};
use crate::message::Table;

macro_rules! all_methods {
    ($life:lifetime: $($class:literal $id:literal $name:ident $(<$own:lifetime>)?
        { $($field:ident: $type:ty),* $(,)? })*) => {
        /// The methods, each as a type of its own.
        #[expect(missing_docs, reason = "they are the specification's, by its names")]
        pub mod methods {
            use super::Table;
            $(
                #[derive(Clone, Debug, Default, PartialEq)]
                pub struct $name $(<$own>)? { $(pub $field: $type,)* }
            )*
        }

        /// Any method.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "they are the specification's, by its names")]
        pub enum Method<$life> { $($name(methods::$name $(<$own>)?),)* }

        impl<$life> Method<$life> {
            /// Reads the payload of a method frame.
            ///
            /// # Errors
            /// When it is malformed, or no method that there is.
            pub fn read(payload: &$life [u8]) -> Result<Self, Malformed> {
                let mut reader = Reader::new(payload);
                let id = (u16::read(&mut reader)?, u16::read(&mut reader)?);
                let method = match id {
                    $(($class, $id) => Self::$name(methods::$name {
                        $($field: <$type>::read(&mut reader)?,)*
                    }),)*
                    (class, method) => return Err(Malformed::Method(class, method)),
                };
                reader.end()?;
                Ok(method)
            }

            /// Its class and its number in it.
            #[must_use]
            pub const fn id(&self) -> (u16, u16) {
                match self { $(Self::$name(_) => ($class, $id),)* }
            }

            /// Its name.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)* }
            }

            pub(super) fn write(&self, writer: &mut Writer<'_>) {
                let (class, id) = self.id();
                class.write(writer);
                id.write(writer);
                match self {
                    $(Self::$name(methods::$name { $($field,)* }) => { $($field.write(writer);)* })*
                }
            }
        }

        $(impl<$life> From<methods::$name $(<$own>)?> for Method<$life> {
            fn from(method: methods::$name $(<$own>)?) -> Self {
                Self::$name(method)
            }
        })*
    };
}

all_methods! { 'a:
    10 10 ConnectionStart<'a> { version_major: u8, version_minor: u8, server_properties: Table,
        mechanisms: &'a [u8], locales: &'a [u8] }
    10 11 ConnectionStartOk<'a> { client_properties: Table, mechanism: &'a str,
        response: &'a [u8], locale: &'a str }
    10 20 ConnectionSecure<'a> { challenge: &'a [u8] }
    10 21 ConnectionSecureOk<'a> { response: &'a [u8] }
    10 30 ConnectionTune { channel_max: u16, frame_max: u32, heartbeat: u16 }
    10 31 ConnectionTuneOk { channel_max: u16, frame_max: u32, heartbeat: u16 }
    10 40 ConnectionOpen<'a> { virtual_host: &'a str, reserved_1: &'a str, reserved_2: bool }
    10 41 ConnectionOpenOk<'a> { reserved_1: &'a str }
    10 50 ConnectionClose<'a> { reply_code: u16, reply_text: &'a str, class_id: u16,
        method_id: u16 }
    10 51 ConnectionCloseOk {}
    10 60 ConnectionBlocked<'a> { reason: &'a str }
    10 61 ConnectionUnblocked {}
    10 70 ConnectionUpdateSecret<'a> { new_secret: &'a [u8], reason: &'a str }
    10 71 ConnectionUpdateSecretOk {}

    20 10 ChannelOpen<'a> { reserved_1: &'a str }
    20 11 ChannelOpenOk<'a> { reserved_1: &'a [u8] }
    20 20 ChannelFlow { active: bool }
    20 21 ChannelFlowOk { active: bool }
    20 40 ChannelClose<'a> { reply_code: u16, reply_text: &'a str, class_id: u16, method_id: u16 }
    20 41 ChannelCloseOk {}

    40 10 ExchangeDeclare<'a> { reserved_1: u16, exchange: &'a str, kind: &'a str, passive: bool,
        durable: bool, auto_delete: bool, internal: bool, no_wait: bool, arguments: Table }
    40 11 ExchangeDeclareOk {}
    40 20 ExchangeDelete<'a> { reserved_1: u16, exchange: &'a str, if_unused: bool, no_wait: bool }
    40 21 ExchangeDeleteOk {}
    40 30 ExchangeBind<'a> { reserved_1: u16, destination: &'a str, source: &'a str,
        routing_key: &'a str, no_wait: bool, arguments: Table }
    40 31 ExchangeBindOk {}
    40 40 ExchangeUnbind<'a> { reserved_1: u16, destination: &'a str, source: &'a str,
        routing_key: &'a str, no_wait: bool, arguments: Table }
    40 51 ExchangeUnbindOk {}

    50 10 QueueDeclare<'a> { reserved_1: u16, queue: &'a str, passive: bool, durable: bool,
        exclusive: bool, auto_delete: bool, no_wait: bool, arguments: Table }
    50 11 QueueDeclareOk<'a> { queue: &'a str, message_count: u32, consumer_count: u32 }
    50 20 QueueBind<'a> { reserved_1: u16, queue: &'a str, exchange: &'a str,
        routing_key: &'a str, no_wait: bool, arguments: Table }
    50 21 QueueBindOk {}
    50 30 QueuePurge<'a> { reserved_1: u16, queue: &'a str, no_wait: bool }
    50 31 QueuePurgeOk { message_count: u32 }
    50 40 QueueDelete<'a> { reserved_1: u16, queue: &'a str, if_unused: bool, if_empty: bool,
        no_wait: bool }
    50 41 QueueDeleteOk { message_count: u32 }
    50 50 QueueUnbind<'a> { reserved_1: u16, queue: &'a str, exchange: &'a str,
        routing_key: &'a str, arguments: Table }
    50 51 QueueUnbindOk {}

    60 10 BasicQos { prefetch_size: u32, prefetch_count: u16, global: bool }
    60 11 BasicQosOk {}
    60 20 BasicConsume<'a> { reserved_1: u16, queue: &'a str, consumer_tag: &'a str,
        no_local: bool, no_ack: bool, exclusive: bool, no_wait: bool, arguments: Table }
    60 21 BasicConsumeOk<'a> { consumer_tag: &'a str }
    60 30 BasicCancel<'a> { consumer_tag: &'a str, no_wait: bool }
    60 31 BasicCancelOk<'a> { consumer_tag: &'a str }
    60 40 BasicPublish<'a> { reserved_1: u16, exchange: &'a str, routing_key: &'a str,
        mandatory: bool, immediate: bool }
    60 50 BasicReturn<'a> { reply_code: u16, reply_text: &'a str, exchange: &'a str,
        routing_key: &'a str }
    60 60 BasicDeliver<'a> { consumer_tag: &'a str, delivery_tag: u64, redelivered: bool,
        exchange: &'a str, routing_key: &'a str }
    60 70 BasicGet<'a> { reserved_1: u16, queue: &'a str, no_ack: bool }
    60 71 BasicGetOk<'a> { delivery_tag: u64, redelivered: bool, exchange: &'a str,
        routing_key: &'a str, message_count: u32 }
    60 72 BasicGetEmpty<'a> { reserved_1: &'a str }
    60 80 BasicAck { delivery_tag: u64, multiple: bool }
    60 90 BasicReject { delivery_tag: u64, requeue: bool }
    60 100 BasicRecoverAsync { requeue: bool }
    60 110 BasicRecover { requeue: bool }
    60 111 BasicRecoverOk {}
    60 120 BasicNack { delivery_tag: u64, multiple: bool, requeue: bool }

    85 10 ConfirmSelect { no_wait: bool }
    85 11 ConfirmSelectOk {}

    90 10 TxSelect {}
    90 11 TxSelectOk {}
    90 20 TxCommit {}
    90 21 TxCommitOk {}
    90 30 TxRollback {}
    90 31 TxRollbackOk {}
}
