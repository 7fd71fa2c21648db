/* Names of sites, and their order. */
#include "check.h"

#include "saediff/model/site.h"

static void test_names(void)
{
    static const struct {
        const char *word, *name;
    } words[] = {
        {"hook_embed", "hook_embed"},
        {"embed", "hook_embed"},
        {"blocks.0.hook_resid_pre", "blocks.0.hook_resid_pre"},
        {"blocks.11.hook_attn_out", "blocks.11.hook_attn_out"},
        {"blocks.3.hook_resid_mid", "blocks.3.hook_resid_mid"},
        {"blocks.3.hook_mlp_out", "blocks.3.hook_mlp_out"},
        {"blocks.3.hook_resid_post", "blocks.3.hook_resid_post"},
        {"ln_final.hook_normalized", "ln_final.hook_normalized"},
        {"4", "blocks.4.hook_resid_post"},
        {"layers.4", "blocks.4.hook_resid_post"},
    };
    char name[SD_SITE_NAME];
    sd_site site;

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        CHECK_OK(sd_site_parse(&site, words[i].word, 12));
        CHECK(strcmp(sd_site_name(site, name), words[i].name) == 0);
    }
}

static void test_refusals(void)
{
    static const char *const words[] = {"",
                                        "x",
                                        "4x",
                                        "layers.",
                                        "layers.x",
                                        "blocks.3",
                                        "blocks..hook_resid_pre",
                                        "blocks.x.hook_resid_pre",
                                        "blocks.3.hook_resid_pre.",
                                        "blocks.3.hook_z",
                                        "99999999999999999999999",
                                        " 4"};
    sd_site site;

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        CHECK_FAILS(sd_site_parse(&site, words[i], 12), SD_E_USAGE, "is not a site; accepted are hook_embed");
    CHECK_FAILS(sd_site_parse(&site, "-1", 12), SD_E_USAGE, "'blocks.11.hook_resid_post'");
    CHECK_FAILS(sd_site_parse(&site, "12", 12), SD_E_USAGE, "layer 12, but the model has 12 layers");
    CHECK_FAILS(sd_site_parse(&site, "blocks.12.hook_mlp_out", 12), SD_E_USAGE, "layer 12");
}

static void test_order(void)
{
    static const sd_site order[] = {{SD_SITE_EMBED, 0},     {SD_SITE_RESID_PRE, 0},  {SD_SITE_ATTN_OUT, 0},
                                    {SD_SITE_RESID_MID, 0}, {SD_SITE_MLP_OUT, 0},    {SD_SITE_RESID_POST, 0},
                                    {SD_SITE_RESID_PRE, 1}, {SD_SITE_RESID_POST, 7}, {SD_SITE_NORMALIZED, 0}};
    int count = sizeof order / sizeof order[0];

    for (int i = 0; i < count; i++)
        for (int j = 0; j < count; j++) {
            int c = sd_site_compare(order[i], order[j]);

            CHECK((c > 0) - (c < 0) == (i > j) - (i < j));
        }
}

static const test_case tests[] = {
    TEST(test_names),
    TEST(test_refusals),
    TEST(test_order),
};

TEST_MAIN(tests, NULL, NULL)
