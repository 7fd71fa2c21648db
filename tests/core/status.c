#include "check.h"
#include "saediff/core/mem.h"

static void test_the_message_is_that_of_the_last_failure(void)
{
    CHECK(SD_FAIL(SD_E_DATA, "row %d", 7) == SD_E_DATA);
    CHECK(strcmp(sd_last_error(), "row 7") == 0);
    CHECK(SD_FAIL(SD_E_ENV, "outer: %s", sd_last_error()) == SD_E_ENV);
    CHECK(strcmp(sd_last_error(), "outer: row 7") == 0);
    CHECK(strncmp(sd_last_error_location(), "status.c:", 9) == 0);
    CHECK(sd_fail_in(SD_E_DATA, "layer 3") == SD_E_DATA);
    CHECK(strcmp(sd_last_error(), "layer 3: outer: row 7") == 0);
}

static void test_another_ranks_error_keeps_its_place(void)
{
    CHECK(sd_fail_from(SD_E_ENV, "rank 3, disk.c:12", "no space") == SD_E_ENV);
    CHECK(strcmp(sd_last_error(), "no space") == 0);
    CHECK(strcmp(sd_last_error_location(), "rank 3, disk.c:12") == 0);
    CHECK(sd_fail_from(SD_E_ENV, sd_last_error_location(), sd_last_error()) == SD_E_ENV);
    CHECK(strcmp(sd_last_error_location(), "rank 3, disk.c:12") == 0 && strcmp(sd_last_error(), "no space") == 0);
}

static void test_long_messages_are_cut_not_overrun(void)
{
    char text[2 * SD_ERROR_TEXT];

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    CHECK(SD_FAIL(SD_E_DATA, "%s", text) == SD_E_DATA);
    CHECK(strlen(sd_last_error()) == SD_ERROR_TEXT - 1);
    CHECK(sd_fail_in(SD_E_DATA, text) == SD_E_DATA);
    CHECK(strlen(sd_last_error()) < SD_ERROR_TEXT);
}

static void test_exit_codes(void)
{
    CHECK(sd_exit_code(SD_OK) == 0);
    CHECK(sd_exit_code(SD_E_STOPPED) == 75);
    CHECK(sd_exit_code(SD_E_USAGE) == 2);
    CHECK(sd_exit_code(SD_E_DATA) == 3);
    CHECK(sd_exit_code(SD_E_ENV) == 4);
    CHECK(sd_exit_code(SD_E_INTERNAL) == 5);
}

static void test_memory_is_zeroed_aligned_and_checked(void)
{
    double *values = NULL;
    uint64_t product;

    CHECK_OK(SD_NEW(&values, 1001));
    CHECK((uintptr_t)values % 64 == 0);
    for (int i = 0; values && i < 1001; i++)
        CHECK(values[i] == 0);
    sd_free(values);
    CHECK_FAILS(SD_NEW(&values, UINT64_MAX / 2), SD_E_ENV, "address space");
    CHECK(values == NULL);
    CHECK_FAILS(SD_NEW(&values, UINT64_MAX / 4096), SD_E_ENV, "out of memory");
    sd_mem_fail_at(2);
    CHECK_OK(SD_NEW(&values, 1));
    sd_free(values);
    CHECK_FAILS(SD_NEW(&values, 1), SD_E_ENV, "out of memory");
    CHECK_OK(SD_NEW(&values, 1));
    sd_free(values);
    CHECK_OK(sd_mul_u64(1u << 31, 1u << 31, &product, "x"));
    CHECK(product == (uint64_t)1 << 62);
    CHECK_FAILS(sd_mul_u64((uint64_t)1 << 32, (uint64_t)1 << 32, &product, "tensor 'a'"), SD_E_DATA, "tensor 'a'");
    CHECK_FAILS(sd_add_u64(UINT64_MAX, 1, &product, "sum"), SD_E_DATA, "sum");
}

static void test_the_machine_tells_its_memory(void)
{
    uint64_t left = 1, all = 0;

    sd_mem_machine(&left, &all);
    CHECK(left > 0 && left <= all);
}

static const test_case tests[] = {
    TEST(test_the_message_is_that_of_the_last_failure),
    TEST(test_another_ranks_error_keeps_its_place),
    TEST(test_long_messages_are_cut_not_overrun),
    TEST(test_exit_codes),
    TEST(test_memory_is_zeroed_aligned_and_checked),
    TEST(test_the_machine_tells_its_memory),
};

TEST_MAIN(tests, NULL, NULL)
