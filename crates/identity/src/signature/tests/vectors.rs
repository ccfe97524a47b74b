//! Keys, messages, bases and signatures of RFC 9421, appendix B: as they stand there.

/// `test-key-rsa` (B.1.1).
pub(super) const RSA_PUBLIC: &str = concat!(
    "-----BEGIN RSA PUBLIC KEY-----\n",
    "MIIBCgKCAQEAhAKYdtoeoy8zcAcR874L8cnZxKzAGwd7v36APp7Pv6Q2jdsPBRrw\n",
    "WEBnez6d0UDKDwGbc6nxfEXAy5mbhgajzrw3MOEt8uA5txSKobBpKDeBLOsdJKFq\n",
    "MGmXCQvEG7YemcxDTRPxAleIAgYYRjTSd/QBwVW9OwNFhekro3RtlinV0a75jfZg\n",
    "kne/YiktSvLG34lw2zqXBDTC5NHROUqGTlML4PlNZS5Ri2U4aCNx2rUPRcKIlE0P\n",
    "uKxI4T+HIaFpv8+rdV6eUgOrB2xeI1dSFFn/nnv5OoZJEIB+VmuKn3DCUcCZSFlQ\n",
    "PSXSfBDiUGhwOw76WuSSsf1D4b/vLoJ10wIDAQAB\n",
    "-----END RSA PUBLIC KEY-----\n",
    "",
);

/// `test-key-rsa-pss` (B.1.2).
pub(super) const RSA_PSS_PUBLIC: &str = concat!(
    "-----BEGIN PUBLIC KEY-----\n",
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2\n",
    "+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+\n",
    "oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHq\n",
    "gDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5W\n",
    "Utzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4\n",
    "aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI\n",
    "2wIDAQAB\n",
    "-----END PUBLIC KEY-----\n",
    "",
);

/// Its private half, in PKCS #8.
pub(super) const RSA_PSS_PRIVATE: &str = concat!(
    "-----BEGIN PRIVATE KEY-----\n",
    "MIIEvgIBADALBgkqhkiG9w0BAQoEggSqMIIEpgIBAAKCAQEAr4tmm3r20Wd/Pbqv\n",
    "P1s2+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry5\n",
    "3mm+oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7Oyr\n",
    "FAHqgDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUA\n",
    "AN5WUtzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw\n",
    "9lq4aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oy\n",
    "c6XI2wIDAQABAoIBAQCUB8ip+kJiiZVKF8AqfB/aUP0jTAqOQewK1kKJ/iQCXBCq\n",
    "pbo360gvdt05H5VZ/RDVkEgO2k73VSsbulqezKs8RFs2tEmU+JgTI9MeQJPWcP6X\n",
    "aKy6LIYs0E2cWgp8GADgoBs8llBq0UhX0KffglIeek3n7Z6Gt4YFge2TAcW2WbN4\n",
    "XfK7lupFyo6HHyWRiYHMMARQXLJeOSdTn5aMBP0PO4bQyk5ORxTUSeOciPJUFktQ\n",
    "HkvGbym7KryEfwH8Tks0L7WhzyP60PL3xS9FNOJi9m+zztwYIXGDQuKM2GDsITeD\n",
    "2mI2oHoPMyAD0wdI7BwSVW18p1h+jgfc4dlexKYRAoGBAOVfuiEiOchGghV5vn5N\n",
    "RDNscAFnpHj1QgMr6/UG05RTgmcLfVsI1I4bSkbrIuVKviGGf7atlkROALOG/xRx\n",
    "DLadgBEeNyHL5lz6ihQaFJLVQ0u3U4SB67J0YtVO3R6lXcIjBDHuY8SjYJ7Ci6Z6\n",
    "vuDcoaEujnlrtUhaMxvSfcUJAoGBAMPsCHXte1uWNAqYad2WdLjPDlKtQJK1diCm\n",
    "rqmB2g8QE99hDOHItjDBEdpyFBKOIP+NpVtM2KLhRajjcL9Ph8jrID6XUqikQuVi\n",
    "4J9FV2m42jXMuioTT13idAILanYg8D3idvy/3isDVkON0X3UAVKrgMEne0hJpkPL\n",
    "FYqgetvDAoGBAKLQ6JZMbSe0pPIJkSamQhsehgL5Rs51iX4m1z7+sYFAJfhvN3Q/\n",
    "OGIHDRp6HjMUcxHpHw7U+S1TETxePwKLnLKj6hw8jnX2/nZRgWHzgVcY+sPsReRx\n",
    "NJVf+Cfh6yOtznfX00p+JWOXdSY8glSSHJwRAMog+hFGW1AYdt7w80XBAoGBAImR\n",
    "NUugqapgaEA8TrFxkJmngXYaAqpA0iYRA7kv3S4QavPBUGtFJHBNULzitydkNtVZ\n",
    "3w6hgce0h9YThTo/nKc+OZDZbgfN9s7cQ75x0PQCAO4fx2P91Q+mDzDUVTeG30mE\n",
    "t2m3S0dGe47JiJxifV9P3wNBNrZGSIF3mrORBVNDAoGBAI0QKn2Iv7Sgo4T/XjND\n",
    "dl2kZTXqGAk8dOhpUiw/HdM3OGWbhHj2NdCzBliOmPyQtAr770GITWvbAI+IRYyF\n",
    "S7Fnk6ZVVVHsxjtaHy1uJGFlaZzKR4AGNaUTOJMs6NadzCmGPAxNQQOCqoUjn4XR\n",
    "rOjr9w349JooGXhOxbu8nOxX\n",
    "-----END PRIVATE KEY-----\n",
);

/// `test-key-ecc-p256` (B.1.3).
pub(super) const ECC_PUBLIC: &str = concat!(
    "-----BEGIN PUBLIC KEY-----\n",
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf\n",
    "w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==\n",
    "-----END PUBLIC KEY-----\n",
    "",
);

/// `test-key-ed25519` (B.1.4).
pub(super) const ED_PUBLIC: &str = concat!(
    "-----BEGIN PUBLIC KEY-----\n",
    "MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n",
    "-----END PUBLIC KEY-----\n",
    "",
);

/// Its private half, in PKCS #8.
pub(super) const ED_PRIVATE: &str = concat!(
    "-----BEGIN PRIVATE KEY-----\n",
    "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n",
    "-----END PRIVATE KEY-----\n",
    "",
);

/// `test-shared-secret` (B.1.5).
pub(super) const SHARED: &str = concat!(
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMt",
    "DQ==",
);

/// The head of `test-request` (B.2); its body is [`BODY`].
pub(super) const REQUEST: &str = concat!(
    "POST /foo?param=Value&Pet=dog HTTP/1.1\n",
    "Host: example.com\n",
    "Date: Tue, 20 Apr 2021 02:07:55 GMT\n",
    "Content-Type: application/json\n",
    "Content-Digest: sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYl",
    "lu7BNNyealdVLvRwEmTHWXvJwew==:\n",
    "Content-Length: 18",
);

/// The body of `test-request`.
pub(super) const BODY: &str = "{\"hello\": \"world\"}";

/// The base of B.2.1.
pub(super) const B21_BASE: &str = concat!(
    "\"@signature-params\": ();created=1618884473;keyid=\"test-key-rsa-pss\";nonce=\"b3k2",
    "pp5k7z-50gnwp.yemd\"",
);

/// The fields of B.2.1.
pub(super) const B21: &str = concat!(
    "Signature-Input: sig-b21=();created=1618884473;keyid=\"test-key-rsa-pss\";nonce=\"b3",
    "k2pp5k7z-50gnwp.yemd\"\n",
    "Signature: sig-b21=:d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4c",
    "RAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzXaJMkA7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8Dh",
    "TSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZsfxVrogUvA4HEL",
    "jVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8I",
    "U1bLhdxO5Nyt8C8ssinQ98Xw9Q==:",
);

/// The base of B.2.2.
pub(super) const B22_BASE: &str = concat!(
    "\"@authority\": example.com\n",
    "\"content-digest\": sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnr",
    "IiYllu7BNNyealdVLvRwEmTHWXvJwew==:\n",
    "\"@query-param\";name=\"Pet\": dog\n",
    "\"@signature-params\": (\"@authority\" \"content-digest\" \"@query-param\";name=\"Pe",
    "t\");created=1618884473;keyid=\"test-key-rsa-pss\";tag=\"header-example\"",
);

/// The fields of B.2.2.
pub(super) const B22: &str = concat!(
    "Signature-Input: sig-b22=(\"@authority\" \"content-digest\" \"@query-param\";name=\"",
    "Pet\");created=1618884473;keyid=\"test-key-rsa-pss\";tag=\"header-example\"\n",
    "Signature: sig-b22=:LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShL",
    "RiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowOB4+ECxCmT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS",
    "/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2fjBSpqfZUJcs",
    "Ik4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0",
    "aaUEb0rQl3/XaVe4bXTugEjHSw==:",
);

/// The base of B.2.3.
pub(super) const B23_BASE: &str = concat!(
    "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n",
    "\"@method\": POST\n",
    "\"@path\": /foo\n",
    "\"@query\": ?param=Value&Pet=dog\n",
    "\"@authority\": example.com\n",
    "\"content-type\": application/json\n",
    "\"content-digest\": sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnr",
    "IiYllu7BNNyealdVLvRwEmTHWXvJwew==:\n",
    "\"content-length\": 18\n",
    "\"@signature-params\": (\"date\" \"@method\" \"@path\" \"@query\" \"@authority\" \"c",
    "ontent-type\" \"content-digest\" \"content-length\");created=1618884473;keyid=\"test",
    "-key-rsa-pss\"",
);

/// The fields of B.2.3.
pub(super) const B23: &str = concat!(
    "Signature-Input: sig-b23=(\"date\" \"@method\" \"@path\" \"@query\" \"@authority\" ",
    "\"content-type\" \"content-digest\" \"content-length\");created=1618884473;keyid=\"t",
    "est-key-rsa-pss\"\n",
    "Signature: sig-b23=:bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6f",
    "b0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768ZrCUb38K0fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbM",
    "Fkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CCoC1xMy7JA1ipwvKvf",
    "rs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyo",
    "EZAFL2FUo5fTIztsDZKEgM4cUA==:",
);

/// The base of B.2.4.
pub(super) const B24_BASE: &str = concat!(
    "\"@status\": 200\n",
    "\"content-type\": application/json\n",
    "\"content-digest\": sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l",
    "5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:\n",
    "\"content-length\": 23\n",
    "\"@signature-params\": (\"@status\" \"content-type\" \"content-digest\" \"content-le",
    "ngth\");created=1618884473;keyid=\"test-key-ecc-p256\"",
);

/// The fields of B.2.4.
pub(super) const B24: &str = concat!(
    "Signature-Input: sig-b24=(\"@status\" \"content-type\" \"content-digest\" \"content-",
    "length\");created=1618884473;keyid=\"test-key-ecc-p256\"\n",
    "Signature: sig-b24=:wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDA",
    "Uy5eCdlYUEkLIj+32oiasw==:",
);

/// The base of B.2.5.
pub(super) const B25_BASE: &str = concat!(
    "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n",
    "\"@authority\": example.com\n",
    "\"content-type\": application/json\n",
    "\"@signature-params\": (\"date\" \"@authority\" \"content-type\");created=1618884473",
    ";keyid=\"test-shared-secret\"",
);

/// The fields of B.2.5.
pub(super) const B25: &str = concat!(
    "Signature-Input: sig-b25=(\"date\" \"@authority\" \"content-type\");created=16188844",
    "73;keyid=\"test-shared-secret\"\n",
    "Signature: sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:",
);

/// The base of B.2.6.
pub(super) const B26_BASE: &str = concat!(
    "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n",
    "\"@method\": POST\n",
    "\"@path\": /foo\n",
    "\"@authority\": example.com\n",
    "\"content-type\": application/json\n",
    "\"content-length\": 18\n",
    "\"@signature-params\": (\"date\" \"@method\" \"@path\" \"@authority\" \"content-type",
    "\" \"content-length\");created=1618884473;keyid=\"test-key-ed25519\"",
);

/// The fields of B.2.6.
pub(super) const B26: &str = concat!(
    "Signature-Input: sig-b26=(\"date\" \"@method\" \"@path\" \"@authority\" \"content-ty",
    "pe\" \"content-length\");created=1618884473;keyid=\"test-key-ed25519\"\n",
    "Signature: sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu",
    "4A0w6vuQv5lIp5WPpBKRCw==:",
);

/// The request of B.3, signed by the proxy that a client showed its certificate to.
pub(super) const B3: &str = concat!(
    "POST /foo?param=Value&Pet=dog HTTP/1.1\n",
    "Host: service.internal.example\n",
    "Date: Tue, 20 Apr 2021 02:07:55 GMT\n",
    "Content-Type: application/json\n",
    "Content-Length: 18\n",
    "Client-Cert: :MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW",
    "50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVybWVkaWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMj",
    "U1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8YnXXfaUgmnMtOXU/IncWa",
    "lRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBAIwAD",
    "AfBgNVHSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgYIKw",
    "YBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1va",
    "L6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuydBVoU4hBVZ1yhk=:\n",
    "Signature-Input: ttrp=(\"@path\" \"@query\" \"@method\" \"@authority\" \"client-cert",
    "\");created=1618884473;keyid=\"test-key-ecc-p256\"\n",
    "Signature: ttrp=:xVMHVpawaAC/0SbHrKRs9i8I3eOs5RtTMGCWXm/9nvZzoHsIg6Mce9315T6xoklyy0y",
    "zhD9ah4JHRwMLOgmizw==:",
);

/// Its base.
pub(super) const B3_BASE: &str = concat!(
    "\"@path\": /foo\n",
    "\"@query\": ?param=Value&Pet=dog\n",
    "\"@method\": POST\n",
    "\"@authority\": service.internal.example\n",
    "\"client-cert\": :MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdX",
    "RoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVybWVkaWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMj",
    "MyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8YnXXfaUgmnMtOXU/I",
    "ncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBA",
    "IwADAfBgNVHSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCg",
    "YIKwYBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/",
    "r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuydBVoU4hBVZ1yh",
    "k=:\n",
    "\"@signature-params\": (\"@path\" \"@query\" \"@method\" \"@authority\" \"client-cer",
    "t\");created=1618884473;keyid=\"test-key-ecc-p256\"",
);

/// The request of B.4, as it was signed.
pub(super) const B4: &str = concat!(
    "GET /demo?name1=Value1&Name2=value2 HTTP/1.1\n",
    "Host: example.org\n",
    "Date: Fri, 15 Jul 2022 14:24:55 GMT\n",
    "Accept: application/json\n",
    "Accept: */*\n",
    "Signature-Input: transform=(\"@method\" \"@path\" \"@authority\" \"accept\");created",
    "=1618884473;keyid=\"test-key-ed25519\"\n",
    "Signature: transform=:ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/L",
    "Xlh5QMFFQ6cpLt2m0pmj3NDA==:",
);

/// With a parameter and a field more.
pub(super) const B4_QUERY: &str = concat!(
    "GET /demo?name1=Value1&Name2=value2&param=added HTTP/1.1\n",
    "Host: example.org\n",
    "Date: Fri, 15 Jul 2022 14:24:55 GMT\n",
    "Accept: application/json\n",
    "Accept: */*\n",
    "Accept-Language: en-US,en;q=0.5\n",
    "Signature-Input: transform=(\"@method\" \"@path\" \"@authority\" \"accept\");created",
    "=1618884473;keyid=\"test-key-ed25519\"\n",
    "Signature: transform=:ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/L",
    "Xlh5QMFFQ6cpLt2m0pmj3NDA==:",
);

/// With other fields, and one whose lines were merged.
pub(super) const B4_MERGED: &str = concat!(
    "GET /demo?name1=Value1&Name2=value2 HTTP/1.1\n",
    "Host: example.org\n",
    "Referer: https://developer.example.org/demo\n",
    "Accept: application/json, */*\n",
    "Signature-Input: transform=(\"@method\" \"@path\" \"@authority\" \"accept\");created",
    "=1618884473;keyid=\"test-key-ed25519\"\n",
    "Signature: transform=:ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/L",
    "Xlh5QMFFQ6cpLt2m0pmj3NDA==:",
);

/// With its fields in another order.
pub(super) const B4_SHUFFLED: &str = concat!(
    "GET /demo?name1=Value1&Name2=value2 HTTP/1.1\n",
    "Accept: application/json\n",
    "Accept: */*\n",
    "Date: Fri, 15 Jul 2022 14:24:55 GMT\n",
    "Host: example.org\n",
    "Signature-Input: transform=(\"@method\" \"@path\" \"@authority\" \"accept\");created",
    "=1618884473;keyid=\"test-key-ed25519\"\n",
    "Signature: transform=:ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/L",
    "Xlh5QMFFQ6cpLt2m0pmj3NDA==:",
);

/// With another method and authority: altered.
pub(super) const B4_OTHER: &str = concat!(
    "POST /demo?name1=Value1&Name2=value2 HTTP/1.1\n",
    "Host: example.com\n",
    "Date: Fri, 15 Jul 2022 14:24:55 GMT\n",
    "Accept: application/json\n",
    "Accept: */*\n",
    "Signature-Input: transform=(\"@method\" \"@path\" \"@authority\" \"accept\");created",
    "=1618884473;keyid=\"test-key-ed25519\"\n",
    "Signature: transform=:ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/L",
    "Xlh5QMFFQ6cpLt2m0pmj3NDA==:",
);

/// With the lines of one field in another order: altered.
pub(super) const B4_SWAPPED: &str = concat!(
    "GET /demo?name1=Value1&Name2=value2 HTTP/1.1\n",
    "Host: example.org\n",
    "Date: Fri, 15 Jul 2022 14:24:55 GMT\n",
    "Accept: */*\n",
    "Accept: application/json\n",
    "Signature-Input: transform=(\"@method\" \"@path\" \"@authority\" \"accept\");created",
    "=1618884473;keyid=\"test-key-ed25519\"\n",
    "Signature: transform=:ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/L",
    "Xlh5QMFFQ6cpLt2m0pmj3NDA==:",
);

/// The base of B.4.
pub(super) const B4_BASE: &str = concat!(
    "\"@method\": GET\n",
    "\"@path\": /demo\n",
    "\"@authority\": example.org\n",
    "\"accept\": application/json, */*\n",
    "\"@signature-params\": (\"@method\" \"@path\" \"@authority\" \"accept\");created=161",
    "8884473;keyid=\"test-key-ed25519\"",
);
