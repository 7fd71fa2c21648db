/* The codecs of Parquet pages. */
#include <lz4.h>
#include <snappy-c.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "parquet.h"

/* Any number of gzip members (or zlib streams). */
static const char *unpack_gzip(const uint8_t *packed, uint64_t packed_size, uint8_t *out, uint64_t size)
{
    uint64_t from = 0, to = 0;

    while (from < packed_size) {
        z_stream z = {.next_in = (Bytef *)(uintptr_t)(packed + from), .avail_in = (uInt)(packed_size - from)};
        uint8_t none;
        int done;

        z.next_out = to < size ? out + to : &none;
        z.avail_out = (uInt)(size - to);
        if (inflateInit2(&z, 32 + MAX_WBITS) != Z_OK)
            return "out of memory for gzip decompression";
        done = inflate(&z, Z_FINISH);
        from = packed_size - z.avail_in;
        to = size - z.avail_out;
        inflateEnd(&z);
        if (done != Z_STREAM_END)
            return "the gzip data is damaged or longer than declared in the header";
    }
    return to == size ? NULL : "the gzip data is shorter than declared in the header";
}

const char *pq_unpack(pq_codec codec, const uint8_t *packed, uint64_t packed_size, uint8_t *out, uint64_t size)
{
    size_t got = size;

    switch (codec) {
    case PQ_UNCOMPRESSED:
        if (packed_size != size)
            return "the header declares two different sizes for uncompressed bytes";
        if (size > 0)
            memcpy(out, packed, size);
        return NULL;
    case PQ_SNAPPY:
        if (snappy_uncompressed_length((const char *)packed, packed_size, &got) != SNAPPY_OK || got != size)
            return "the length of the snappy data differs from the header";
        got = size;
        return snappy_uncompress((const char *)packed, packed_size, (char *)out, &got) == SNAPPY_OK ? NULL : "the snappy data is damaged";
    case PQ_GZIP:
        return unpack_gzip(packed, packed_size, out, size);
    case PQ_ZSTD:
        got = ZSTD_decompress(out, size, packed, packed_size);
        return !ZSTD_isError(got) && got == size ? NULL : "the zstd data is damaged, or its length differs from the header";
    case PQ_LZ4_RAW:
        return LZ4_decompress_safe((const char *)packed, (char *)out, (int)packed_size, (int)size) == (int)size
                   ? NULL
                   : "the lz4 data is damaged, or its length differs from the header";
    case PQ_LZO:
    case PQ_BROTLI:
    case PQ_LZ4:
    case PQ_CODECS:
        break;
    }
    return "its codec is not supported";
}

bool pq_exceeds_codec(pq_codec codec, uint64_t packed_size, uint64_t size)
{
    /* Maximum output per input byte: a snappy copy of 3 bytes makes 64; lz4 counts lengths by bytes of 255; deflate makes 258 from 2 bits;
 * a zstd block of 4 bytes makes 128 KiB. */
    static const uint64_t max_ratio[PQ_CODECS] = {
        [PQ_UNCOMPRESSED] = 1, [PQ_SNAPPY] = 32, [PQ_GZIP] = 1032, [PQ_ZSTD] = 32768, [PQ_LZ4_RAW] = 255};

    return size > max_ratio[codec] * (packed_size + 64);
}
