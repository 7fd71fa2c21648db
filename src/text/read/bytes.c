#include "bytes.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "saediff/core/mem.h"
#include "saediff/store/file.h"

enum { PACKED_BYTES = 1 << 16, MAX_READ = 1 << 30 };

struct bytes {
    const char *path;
    int fd;
    enum { PLAIN, GZIP, ZSTD } form;
    uint64_t unpacked;
    z_stream gzip;
    bool gzip_open;
    ZSTD_DStream *zstd;
    bool inside; /* inside a member or frame */
    uint64_t at, end; /* range of the remaining bytes of `packed` */
    unsigned char packed[PACKED_BYTES];
};

static sd_status read_some(const bytes *b, void *into, uint64_t capacity, uint64_t *got)
{
    ssize_t n;

    do
        n = read(b->fd, into, capacity < MAX_READ ? (size_t)capacity : (size_t)MAX_READ);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return SD_FAIL(SD_E_ENV, "%s: cannot be read: %s", b->path, strerror(errno));
    *got = (uint64_t)n;
    return SD_OK;
}

/* Reads the next compressed bytes once all are used; none are left at the end of the file. */
static sd_status refill(bytes *b)
{
    if (b->at < b->end)
        return SD_OK;
    b->at = b->end = 0;
    return read_some(b, b->packed, PACKED_BYTES, &b->end);
}

static bool is_zstd(const unsigned char *head)
{
    static const unsigned char frame[4] = {0x28, 0xB5, 0x2F, 0xFD}, skippable[3] = {0x2A, 0x4D, 0x18};

    return memcmp(head, frame, 4) == 0 || ((head[0] & 0xF0) == 0x50 && memcmp(head + 1, skippable, 3) == 0);
}

static sd_status begin(bytes *b)
{
    sd_status st;

    while (b->end < 4) {
        uint64_t got = 0;

        SD_TRY(st, read_some(b, b->packed + b->end, PACKED_BYTES - b->end, &got));
        if (got == 0)
            break;
        b->end += got;
    }
    st = SD_OK;
    if (b->end >= 2 && b->packed[0] == 0x1F && b->packed[1] == 0x8B) {
        b->form = GZIP;
        b->gzip_open = inflateInit2(&b->gzip, 16 + MAX_WBITS) == Z_OK;
        if (!b->gzip_open)
            st = SD_FAIL(SD_E_ENV, "%s: out of memory for gzip decompression", b->path);
    } else if (b->end >= 4 && is_zstd(b->packed)) {
        b->form = ZSTD;
        b->zstd = ZSTD_createDStream();
        if (b->zstd == NULL)
            st = SD_FAIL(SD_E_ENV, "%s: out of memory for zstd decompression", b->path);
    }
out:
    return st;
}

sd_status bytes_open(bytes **out, const char *path)
{
    bytes *b = NULL;
    uint64_t size;
    sd_status st;

    *out = NULL;
    SD_TRY(st, SD_NEW(&b, 1));
    b->fd = -1;
    b->path = path;
    SD_TRY(st, sd_file_open_read(path, &b->fd, &size));
    SD_TRY(st, begin(b));
    *out = b;
    b = NULL;
out:
    bytes_close(&b);
    return st;
}

void bytes_close(bytes **out)
{
    bytes *b = *out;

    *out = NULL;
    if (b == NULL)
        return;
    if (b->gzip_open)
        inflateEnd(&b->gzip);
    ZSTD_freeDStream(b->zstd);
    if (b->fd >= 0)
        close(b->fd);
    sd_free(b);
}

static sd_status damaged(const bytes *b, const char *form, const char *why)
{
    return SD_FAIL(SD_E_DATA, "%s: the %s data is damaged after %llu decompressed bytes: %s", b->path, form,
                   (unsigned long long)b->unpacked, why);
}

static sd_status read_gzip(bytes *b, char *into, uint64_t capacity, uint64_t *got)
{
    sd_status st = SD_OK;

    *got = 0;
    while (*got == 0) {
        int done;

        SD_TRY(st, refill(b));
        if (b->at == b->end) {
            st = b->inside ? damaged(b, "gzip", "the file ends inside a member") : SD_OK;
            goto out;
        }
        b->inside = true;
        b->gzip.next_in = b->packed + b->at;
        b->gzip.avail_in = (uInt)(b->end - b->at);
        b->gzip.next_out = (Bytef *)into;
        b->gzip.avail_out = (uInt)capacity;
        done = inflate(&b->gzip, Z_NO_FLUSH);
        b->at = b->end - b->gzip.avail_in;
        *got = capacity - b->gzip.avail_out;
        if (done == Z_MEM_ERROR) {
            st = SD_FAIL(SD_E_ENV, "%s: out of memory for gzip decompression", b->path);
            goto out;
        }
        if (done != Z_OK && done != Z_STREAM_END && done != Z_BUF_ERROR) {
            st = damaged(b, "gzip", b->gzip.msg != NULL ? b->gzip.msg : "it needs a preset dictionary");
            goto out;
        }
        if (done == Z_STREAM_END) {
            b->inside = false;
            inflateReset(&b->gzip);
        }
    }
out:
    return st;
}

static sd_status read_zstd(bytes *b, char *into, uint64_t capacity, uint64_t *got)
{
    sd_status st = SD_OK;

    *got = 0;
    while (*got == 0) {
        ZSTD_inBuffer in;
        ZSTD_outBuffer out = {into, capacity, 0};
        size_t left;

        SD_TRY(st, refill(b));
        if (b->at == b->end && !b->inside)
            goto out;
        in = (ZSTD_inBuffer){b->packed + b->at, b->end - b->at, 0};
        left = ZSTD_decompressStream(b->zstd, &out, &in);
        if (ZSTD_isError(left)) {
            st = damaged(b, "zstd", ZSTD_getErrorName(left));
            goto out;
        }
        if (b->at == b->end && out.pos == 0) {
            st = damaged(b, "zstd", "the file ends inside a frame");
            goto out;
        }
        b->at += in.pos;
        b->inside = left != 0;
        *got = out.pos;
    }
out:
    return st;
}

sd_status bytes_read(bytes *b, char *into, uint64_t capacity, uint64_t *got)
{
    uint64_t limit = capacity < MAX_READ ? capacity : MAX_READ;
    sd_status st = SD_OK;

    if (b->form == GZIP) {
        st = read_gzip(b, into, limit, got);
    } else if (b->form == ZSTD) {
        st = read_zstd(b, into, limit, got);
    } else if (b->at < b->end) {
        *got = b->end - b->at < limit ? b->end - b->at : limit;
        memcpy(into, b->packed + b->at, *got);
        b->at += *got;
    } else {
        st = read_some(b, into, limit, got);
    }
    if (st == SD_OK)
        b->unpacked += *got;
    return st;
}
