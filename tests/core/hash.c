#include "check.h"
#include "saediff/core/hash.h"

/* RFC 3720 appendix B.4. */
static void test_crc32c_vectors(void)
{
    unsigned char bytes[32];

    CHECK(sd_crc32c(0, "123456789", 9) == 0xe3069283u);
    memset(bytes, 0, sizeof bytes);
    CHECK(sd_crc32c(0, bytes, 32) == 0x8a9136aau);
    memset(bytes, 0xff, sizeof bytes);
    CHECK(sd_crc32c(0, bytes, 32) == 0x62a8ab43u);
    for (unsigned i = 0; i < 32; i++)
        bytes[i] = (unsigned char)i;
    CHECK(sd_crc32c(0, bytes, 32) == 0x46dd794eu);
    for (unsigned i = 0; i < 32; i++)
        bytes[i] = (unsigned char)(31 - i);
    CHECK(sd_crc32c(0, bytes, 32) == 0x113fdb5cu);
}

static void test_crc32c_continues_and_joins_at_every_cut(void)
{
    unsigned char bytes[301];

    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * i + 7 * i);
    for (size_t cut = 0; cut <= sizeof bytes; cut++) {
        uint32_t whole = sd_crc32c(0, bytes, sizeof bytes), a = sd_crc32c(0, bytes, cut);
        uint32_t b = sd_crc32c(0, bytes + cut, sizeof bytes - cut);

        CHECK(sd_crc32c(a, bytes + cut, sizeof bytes - cut) == whole);
        CHECK(sd_crc32c_join(a, b, sizeof bytes - cut) == whole);
    }
}

static void check_sha(const char *text, size_t repeats, const char *want)
{
    char hex[SD_SHA256_HEX];
    sd_sha256 sha;

    sd_sha256_begin(&sha);
    for (size_t i = 0; i < repeats; i++)
        sd_sha256_add(&sha, text, strlen(text));
    sd_sha256_end(&sha, hex);
    CHECK(strcmp(hex, want) == 0);
}

/* FIPS 180-4 examples (NIST CSRC). */
static void test_sha256_vectors(void)
{
    check_sha("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check_sha("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_sha("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    check_sha("a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void test_sha256_is_the_same_in_any_pieces(void)
{
    unsigned char bytes[200];
    char whole[SD_SHA256_HEX], pieces[SD_SHA256_HEX];
    sd_sha256 sha;

    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(3 * i + 1);
    for (size_t length = 0; length <= sizeof bytes; length += 9) {
        sd_sha256_begin(&sha);
        sd_sha256_add(&sha, bytes, length);
        sd_sha256_end(&sha, whole);
        for (size_t step = 1; step < 70; step += 17) {
            sd_sha256_begin(&sha);
            for (size_t at = 0; at < length; at += step)
                sd_sha256_add(&sha, bytes + at, length - at < step ? length - at : step);
            sd_sha256_end(&sha, pieces);
            CHECK(strcmp(whole, pieces) == 0);
        }
    }
}

static const test_case tests[] = {
    TEST(test_crc32c_vectors),
    TEST(test_crc32c_continues_and_joins_at_every_cut),
    TEST(test_sha256_vectors),
    TEST(test_sha256_is_the_same_in_any_pieces),
};

TEST_MAIN(tests, NULL, NULL)
