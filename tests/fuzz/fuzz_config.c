/* link: helper image plan */
/* Configurations of images: what is accepted into the store, and what `run` then reads. */
#include "input.h"
#include "staging.h"

#include "runtime/image/document.h"
#include "runtime/image/helper/incoming.h"
#include "runtime/plan/image_config.h"

static void check(struct incoming_image *image, size_t layer_count)
{
    assert(image->layer_count == layer_count);
    for (size_t i = 0; i < layer_count; i++)
        assert(digest_is_hex(image->layers[i].diff_id));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = { 0 };
    struct incoming incoming = { .count = 1 };
    struct incoming_image *image = &incoming.images[0];
    const struct staging *staging = fuzz_staging();
    const struct platform host = platform_host();
    if (size == 0)
        return 0;
    const size_t layer_count = data[0] % 4;
    image->config = fuzz_blob(staging, data + 1, size - 1);
    if (incoming_read_config(staging, &host, image, layer_count, &err) == 0)
        check(image, layer_count);
    else
        assert(err.exit_code != 0 && err.message[0] != '\0');
    incoming_free(&incoming);

    struct image_config config;
    json_t *document = document_parse((const char *)data + 1, size - 1, "it", &err);
    if (document)
        (void)image_config_read(document, &config, &err);
    json_decref(document);
    return 0;
}
