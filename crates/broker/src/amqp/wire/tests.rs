//! What is written is read again as it was, and what is malformed is called by its name.

use bytes::{Bytes, BytesMut};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

use super::methods::{BasicPublish, QueueDeclare};
use super::{
    Fault, Frame, Kind, Malformed, Method, Reader, Splitter, Writer, read_header, read_table,
    write_header, write_heartbeat, write_method, write_table,
};
use crate::message::{Properties, Table, Value};
use crate::state::{Code, Scope};

const MAX: u32 = 4096;

fn split(bytes: &[u8]) -> Result<Vec<Frame>, Code> {
    let mut received = BytesMut::from(bytes);
    let mut frames = Vec::new();
    let splitter = Splitter::new(MAX);
    while let Some(frame) = splitter.next(&mut received).map_err(|fault| fault.code)? {
        frames.push(frame);
    }
    Ok(frames)
}

fn value() -> impl Strategy<Value = Value> {
    let octets = || prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<u8>().prop_map(Value::U8),
        any::<i16>().prop_map(Value::I16),
        any::<u16>().prop_map(Value::U16),
        any::<i32>().prop_map(Value::I32),
        any::<u32>().prop_map(Value::U32),
        any::<i64>().prop_map(Value::I64),
        any::<f32>().prop_map(Value::F32),
        any::<f64>().prop_map(Value::F64),
        (any::<u8>(), any::<u32>()).prop_map(|(scale, value)| Value::Decimal { scale, value }),
        octets().prop_map(Value::Text),
        octets().prop_map(Value::Bytes),
        any::<u64>().prop_map(Value::Timestamp),
        Just(Value::Void),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            fields(inner).prop_map(Value::Table),
        ]
    })
}

fn fields(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Table> {
    let name = "[a-zä-]{0,12}".prop_map(std::sync::Arc::from);
    prop::collection::vec((name, value), 0..6).prop_map(Table::from_iter)
}

fn written(table: &Table) -> BytesMut {
    let mut out = BytesMut::new();
    write_table(table, &mut Writer::new(&mut out));
    out
}

fn read(octets: &[u8]) -> Result<Table, Malformed> {
    let mut reader = Reader::new(octets);
    let table = read_table(&mut reader)?;
    reader.end()?;
    Ok(table)
}

proptest! {
    #[test]
    fn tables_are_read_as_they_were_written(table in fields(value())) {
        prop_assert_eq!(read(&written(&table)), Ok(table));
    }

    #[test]
    fn a_table_that_is_cut_off_is_malformed(table in fields(value()), cut in any::<prop::sample::Index>()) {
        let octets = written(&table);
        let cut = cut.index(octets.len());
        prop_assert_eq!(read(&octets[..cut]), Err(Malformed::Short));
    }

    #[test]
    fn properties_are_read_as_they_were_written(
        headers in prop::option::of(fields(value())),
        text in prop::collection::vec(prop::option::of("[ -~é]{0,40}"), 9),
        numbers in (any::<Option<u8>>(), any::<Option<u8>>(), any::<Option<u64>>()),
        body_size in any::<u64>(),
    ) {
        let properties = Properties {
            content_type: text[0].as_deref().map(Into::into),
            content_encoding: text[1].as_deref().map(Into::into),
            headers,
            delivery_mode: numbers.0,
            priority: numbers.1,
            correlation_id: text[2].as_deref().map(Into::into),
            reply_to: text[3].as_deref().map(Into::into),
            expiration: text[4].as_deref().map(Into::into),
            message_id: text[5].as_deref().map(Into::into),
            timestamp: numbers.2,
            kind: text[6].as_deref().map(Into::into),
            user_id: text[7].as_deref().map(Into::into),
            app_id: text[8].as_deref().map(Into::into),
            cluster_id: None,
        };
        let mut out = BytesMut::new();
        write_header(&mut out, 7, body_size, &properties);
        let frames = Splitter::new(u32::MAX).next(&mut out);
        let frame = frames.expect("a frame").expect("whole");
        prop_assert_eq!((frame.kind, frame.channel), (Kind::Header, 7));
        prop_assert_eq!(read_header(&frame.payload), Ok((body_size, properties)));
    }

    #[test]
    fn how_bytes_are_cut_into_reads_changes_nothing(
        payloads in prop::collection::vec((1_u8..9, any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut bytes = Vec::new();
        for (kind, channel, payload) in &payloads {
            let kind = if matches!(kind, 4..8) { 1 } else { *kind };
            bytes.push(kind);
            bytes.extend(channel.to_be_bytes());
            bytes.extend(u32::try_from(payload.len()).expect("short").to_be_bytes());
            bytes.extend(payload);
            bytes.push(0xCE);
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let (mut received, mut frames) = (BytesMut::new(), Vec::new());
        for pair in cuts.windows(2) {
            received.extend_from_slice(&bytes[pair[0]..pair[1]]);
            while let Some(frame) = Splitter::new(MAX).next(&mut received).expect("well-formed") {
                frames.push(frame);
            }
        }
        prop_assert_eq!(frames, split(&bytes).expect("well-formed"));
        prop_assert_eq!(received.len(), 0);
    }

    #[test]
    fn noise_is_refused_or_read_but_never_fatal(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _any = split(&bytes);
        let _any = Method::read(&bytes);
        let _any = read_header(&bytes);
        let _any = read(&bytes);
    }
}

#[test]
fn methods_are_read_as_they_were_written() {
    let mut arguments = Table::default();
    arguments.set("x-queue-type", Value::text("classic"));
    let declare = QueueDeclare {
        queue: "orders",
        durable: true,
        auto_delete: true,
        arguments,
        ..QueueDeclare::default()
    };
    let publish = BasicPublish { routing_key: "a.b", immediate: true, ..BasicPublish::default() };
    for method in [Method::from(declare), Method::from(publish)] {
        let mut out = BytesMut::new();
        write_method(&mut out, 3, &method);
        let frames = split(&out).expect("well-formed");
        assert_eq!((frames.len(), frames[0].channel), (1, 3));
        assert_eq!(Method::read(&frames[0].payload), Ok(method));
    }
}

#[test]
fn bits_are_packed_as_the_specification_says() {
    // queue.declare: passive, durable, exclusive, auto-delete, no-wait from the lowest bit up.
    let declare = QueueDeclare { durable: true, no_wait: true, ..QueueDeclare::default() };
    let mut out = BytesMut::new();
    write_method(&mut out, 1, &declare.into());
    assert_eq!(&out[7..], [0, 50, 0, 10, 0, 0, 0, 0b1_0010, 0, 0, 0, 0, 0xCE]);
}

#[test]
fn frames_are_refused_before_they_are_waited_for() {
    let too_large = [1, 0, 0, 0, 0, 0x10, 0];
    assert_eq!(split(&too_large), Err(Code::FrameError), "larger than agreed");
    assert_eq!(split(&[1, 0, 0, 0, 0, 0x0F, 0xF8]), Ok(vec![]), "the largest, not there yet");
    assert_eq!(split(b"GET / HTTP/1.1\r\n"), Err(Code::FrameError), "no type of a frame");
    assert_eq!(split(&[8, 0, 0, 0, 0, 0, 0, 0xCD]), Err(Code::FrameError), "no end octet");
    let mut heartbeat = BytesMut::new();
    write_heartbeat(&mut heartbeat);
    assert_eq!(&heartbeat[..], [8, 0, 0, 0, 0, 0, 0, 0xCE]);
    let frame = Frame { kind: Kind::Heartbeat, channel: 0, payload: Bytes::new() };
    assert_eq!(split(&heartbeat), Ok(vec![frame]));
}

#[test]
fn tables_are_bounded() {
    let mut nested = Table::default();
    for _ in 0..40 {
        let mut outer = Table::default();
        outer.set("t", Value::Table(nested));
        nested = outer;
    }
    assert_eq!(read(&written(&nested)), Err(Malformed::Nesting(32)));
    let many = Table::from_iter((0..9000).map(|_| ("".into(), Value::Void)));
    assert_eq!(read(&written(&many)), Err(Malformed::Fields(8192)));
    let array = Value::Array(vec![Value::Void; 9000]);
    let array = Table::from_iter([("a".into(), array)]);
    assert_eq!(read(&written(&array)), Err(Malformed::Fields(8192)));
}

#[test]
fn what_is_malformed_is_called_by_its_name() {
    let check = |payload: &[u8], wanted: Malformed, code: Code| {
        assert_eq!(Method::read(payload), Err(wanted), "{payload:?}");
        assert_eq!(wanted.fault().code, code);
    };
    check(&[0, 20], Malformed::Short, Code::SyntaxError);
    check(&[0, 20, 0, 41, 9], Malformed::Rest(1), Code::SyntaxError);
    check(&[0, 20, 0, 99], Malformed::Method(20, 99), Code::NotImplemented);
    check(&[0, 20, 0, 10, 1, 0xFF], Malformed::NotText, Code::SyntaxError);
    let unknown_type = [0, 50, 0, 50, 0, 0, 0, 0, 0, 0, 0, 0, 3, 1, b'a', b'?'];
    check(&unknown_type, Malformed::Type(b'?'), Code::SyntaxError);
    let header = [0, 61, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(read_header(&header), Err(Malformed::Properties(61, 0)));
    let header = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(read_header(&header), Err(Malformed::Properties(60, 1)));
}

#[test]
fn reply_texts_fit_a_short_string() {
    let fault = Fault::new(Code::NotFound, "ä".repeat(200));
    assert!(fault.text.len() <= 255);
    assert!(fault.text.starts_with("NOT_FOUND - ää"));
    assert_eq!(Fault::new(Code::NotImplemented, "").code.scope(), Scope::Connection);
}
