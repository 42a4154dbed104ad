"""What each detector masks, what it leaves, and what of a text it leaves around a find."""

from __future__ import annotations

import pytest
import re2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanbridge.processors.attributes import put
from spanbridge.processors.redaction import DETECTORS, Redaction, RedactionConfig

FOUND = {
    "email": [
        ("bob@example.com", "****"),
        ("write to Bob.O'Hara+x@mail.example.co.uk.", "write to ****."),
        ("{'email':'bob@x.com'}", "{'email':'****'}"),
        ("<bob@example.com>, <eve@example.com>", "<****>, <****>"),
        ("?email=alice%40example.com&x=1", "?email=****&x=1"),
        ("müller@bücher.example", "****"),
        ("请联系alice@example.com谢谢", "请联系****谢谢"),
        ("postmaster@xn--bcher-kva.example", "****"),
    ],
    "phone": [
        ("+14155550132", "****"),
        ("+1 (415) 555-0132", "****"),
        ("+49 (0)30/1234567", "****"),
        ("+33 1 42 68 53 00.", "****."),
        ("(415) 555-0132", "****"),
        ("415-555-0132", "****"),
        ("1-415-555-0132", "****"),
        ("415.555.0132", "****"),
        ("call 415 555 0132 now", "call **** now"),
        ("?phone=%2B14155550132", "?phone=****"),
    ],
    "credit_card": [
        ("4111111111111111", "****"),
        ("4111 1111 1111 1111", "****"),
        ("4111-1111-1111-1111.", "****."),
        ("3782 822463 10005", "****"),
        ("5555555555554444", "****"),
        ("2223003122003222", "****"),
        ("6011111111111117", "****"),
        ("30569309025904", "****"),
        ("3530111333300000", "****"),
        ("card 2024 4111 1111 1111 1111 12/27", "card 2024 **** 12/27"),
    ],
    "iban": [
        ("DE89370400440532013000", "****"),
        ("GB29 NWBK 6016 1331 9268 19 THIS IS IT", "**** THIS IS IT"),
        ("BE68 5390 0754 7034 THIS", "**** THIS"),
        ("REF AB12 DE89 3704 0044 0532 0130 00", "REF AB12 ****"),
        ("NO93-8601-1117-947", "****"),
    ],
    "us_ssn": [("ssn: 123-45-6789.", "ssn: ****."), ("ssn-123-45-6789", "ssn-****")],
    "ipv4": [
        ("from 192.168.1.10", "from ****"),
        ("http://10.0.0.1:8080/x", "http://****:8080/x"),
        ("10.1.0.0/16", "****/16"),
        ("It was 8.8.8.8.", "It was ****."),
    ],
    "ipv6": [
        ("2001:db8::1", "****"),
        ("[2001:0db8:85a3:0000:0000:8a2e:0370:7334]:443", "[****]:443"),
        ("peer:2001:db8::1: reset", "peer:****: reset"),
        ("::1", "****"),
    ],
    "jwt": [
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcDEF_-123", "****"),
        ("token=eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0. ", "token=**** "),
    ],
    "bearer": [
        ("Authorization: Bearer abcdefgh", "Authorization: Bearer ****"),
        ("bearer a1b2c3d4e5", "bearer ****"),
        ("Bearer%20a1b2c3d4e5==", "Bearer%20****"),
    ],
    "basic_auth": [("Authorization: Basic dXNlcjpwYXNzd29yZA==", "Authorization: Basic ****")],
    "url_credentials": [
        ("postgres://app:s3cret@db:5432/x", "postgres://****@db:5432/x"),
        ("redis://:s3cret@cache", "redis://****@cache"),
    ],
    "aws_key": [
        ("AKIAIOSFODNN7EXAMPLE", "****"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_access_key = ****"),
        (
            '{"SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}',
            '{"SecretAccessKey": "****"}',
        ),
    ],
    "azure_key": [("AccountName=a;AccountKey=" + "aB3/" * 21 + "==;", "AccountName=a;AccountKey=****;")],
    "anthropic_key": [("sk-ant-api03-abcDEF0123456789abcdef-_x", "****")],
    "openai_key": [
        ("sk-" + "a" * 48, "****"),
        ("OPENAI_API_KEY=sk-proj-Ab1_cdEF-ghij0123456789klmnop", "OPENAI_API_KEY=****"),
        ("sk-lf-12345678-1234-1234-1234-123456789abc", "****"),
    ],
    "github_token": [("ghp_" + "a1" * 18, "****"), ("github_pat_11ABCDEFG0abcdefghijkl_xyz", "****")],
    "gitlab_token": [("glpat-abcdefghij0123456789", "****")],
    "google_api_key": [("?key=AIza" + "Sy1_-" * 7, "?key=****")],
    "slack_token": [("xoxb-123456789012-abcdefGHIJ", "****")],
    "stripe_key": [("sk_live_abcdefghij0123", "****"), ("rk_test_abcdefghij0123", "****")],
    "huggingface_token": [("hf_" + "aB" * 17, "****")],
    "databricks_token": [("dapi" + "0a" * 16 + "-2", "****")],
    "langsmith_key": [("lsv2_pt_" + "0a" * 16 + "_0a1b2c3d4e", "****")],
    "groq_key": [("gsk_" + "aB3" * 17, "****")],
    "nvidia_key": [("nvapi-" + "aB3_" * 16, "****")],
    "npm_token": [("npm_" + "aB3" * 12, "****")],
    "sendgrid_key": [("SG." + "aB3" * 7 + "." + "aB3" * 14, "****")],
    "private_key": [
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc=\n-----END RSA PRIVATE KEY-----\nrest", "****\nrest"),
        ("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,AB\n\nMIIE", "****"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 1 (x)\n\nlQ\n-----END PGP PRIVATE KEY BLOCK-----", "****"),
        ('cut "-----BEGIN PRIVATE KEY-----\\nMIIEow\\nabc', 'cut "****'),
    ],
}

LEFT = [
    # times and dates
    "1732106400",
    "1732106400000",
    "1732106400000000000",
    "2024-11-20T10:30:00.123456Z",
    "2024-11-20 10:30:00+01:00",
    "12:34:56",
    "2023 2024 2025 2026",
    # ids and digests
    "0af7651916cd43dd8448eb211c80319c",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "550e8400-e29b-41d4-a716-446655440000",
    "chatcmpl-AbCdEf1234567890123456",
    "call_abc123XYZ",
    "toolu_01A09q90qw90lq917835lq9",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "aa:bb:cc:dd:ee:ff",
    "SHA256 AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89",
    "arn:aws:iam::123456789012:role/x",
    "4111111111111112",  # the last digit is no check digit
    "DE88370400440532013000",
    "000-12-3456",
    "666-12-3456",
    "1.3.6.1.4.1.311",
    # counts, prices, measures
    "512 256 1024 2048",
    "512, 256 1024",
    "128 64 1024",
    "$1,299.99",
    "0.4523456789012345",
    "[0.4111111111111111, 0.5500000000000004]",
    "2 + 2 = 4, +10 -20 +30",
    "(123) apples",
    # versions
    "3.11.7",
    "v1.2.3.4",
    "version 1.2.3.4",
    "opencv-python==4.8.1.78",
    "Mozilla/5.0 Chrome/120.0.0.0 Safari/537.36",
    "react@18.2.0",
    "pkg@1.0.0-beta.rc",
    "gpt-4o-2024-08-06",
    # words and code
    "basic knowledge",
    "Basic authentication",
    "bearer certificates",
    "Bearer token",
    "@app.route('/x')",
    "`@app.route`",
    "x@w.T",
    "user@host",
    "std::vector<int>",
    "Abc::Def",
    "sk-learn-pipeline-model-selection",
    "risk-management-of-something-big",
    "eyJhbGci",
    "-----BEGIN CERTIFICATE-----\nMIIE",
    "http://localhost:8080/v1/chat/completions",
    "100.200.300.400",
    "text-embedding-3-large",
]


def redacted(text: str, detectors: object = "all") -> str:
    request = ExportTraceServiceRequest()
    attributes = request.resource_spans.add().scope_spans.add().spans.add().attributes
    put(attributes, "text", text)
    Redaction(RedactionConfig(detectors=detectors))(request)
    return attributes[0].value.string_value


@pytest.mark.parametrize(("detector", "text", "expected"), [(d, *case) for d, cases in FOUND.items() for case in cases])
def test_masks_what_it_is_for_and_nothing_else(detector: str, text: str, expected: str) -> None:
    assert redacted(text, [detector]) == expected
    assert redacted(text) == expected


def test_every_detector_is_in_the_table() -> None:
    assert set(FOUND) == set(DETECTORS)


@pytest.mark.parametrize("text", LEFT)
def test_leaves_what_only_looks_like_it(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(("detector", "text"), [(d, case[0]) for d, cases in FOUND.items() for case in cases])
def test_a_hint_is_blind_to_what_stands_beside_a_find(detector: str, text: str) -> None:
    hint = re2.compile(DETECTORS[detector].hint)
    for beside in (b"a", b"_", b"9", b"\x0a", b"\xff"):
        assert hint.search(beside + text.encode() + beside)
