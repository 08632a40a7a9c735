namespace LongLora.Tokenization;

/// <summary>Chat templates of well-known models, for models that come without one.</summary>
internal static class NamedTemplates
{
    // Meta's template: the system message is part of the first question.
    private const string Llama2 = """
        {% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set turns = messages[1:] %}{% else %}{% set system = none %}{% set turns = messages %}{% endif %}
        {% for message in turns %}
        {% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('questions and answers must alternate, and a question comes first; seen the role ' ~ message.role ~ ' in place ' ~ loop.index) }}{% endif %}
        {% if message.role == 'user' %}
        {% if loop.first and system is not none %}{% set content = '<<SYS>>\n' + system.strip() + '\n<</SYS>>\n\n' + message.content.strip() %}{% else %}{% set content = message.content.strip() %}{% endif %}
        {{- bos_token + '[INST] ' + content + ' [/INST]' }}
        {%- elif message.role == 'assistant' %}
        {{- ' ' + message.content.strip() + ' ' + eos_token }}
        {%- else %}{{ raise_exception('the role ' ~ message.role ~ ' is not known') }}{% endif %}
        {% endfor %}
        """;

    private const string Llama3 = """
        {{- bos_token }}
        {%- for message in messages %}
        {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}
        {%- endfor %}
        {%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}
        """;

    // OpenAI's ChatML, as Qwen and SmolLM write it.
    private const string ChatMl = """
        {% for message in messages %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
        {%- endfor %}
        {%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
        """;

    private const string Mistral = """
        {{- bos_token }}
        {%- if messages[0].role == 'system' %}{% set system = messages[0].content + '\n\n' %}{% set turns = messages[1:] %}{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}
        {%- for message in turns %}
        {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('questions and answers must alternate, and a question comes first; seen the role ' ~ message.role ~ ' in place ' ~ loop.index) }}{% endif %}
        {%- if message.role == 'user' %}{{ '[INST] ' + (system if loop.first else '') + message.content + ' [/INST]' }}
        {%- else %}{{ ' ' + message.content.strip() + eos_token }}{% endif %}
        {%- endfor %}
        """;

    private const string Phi3 = """
        {% for message in messages %}
        {%- if message.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('the role ' ~ message.role ~ ' is not known') }}{% endif %}
        {{- '<|' + message.role + '|>\n' + message.content + '<|end|>\n' }}
        {%- endfor %}
        {%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}
        """;

    // Stanford Alpaca's two prompts, for one question and one answer.
    private const string Alpaca = """
        {{- bos_token }}
        {%- for message in messages %}
        {%- if message.role == 'user' %}
        {%- if message.input %}{{ 'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n' + message.instruction + '\n\n### Input:\n' + message.input + '\n\n### Response:' }}
        {%- else %}{{ 'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n' + message.content + '\n\n### Response:' }}{% endif %}
        {%- elif message.role == 'assistant' %}{{ message.content + eos_token }}
        {%- else %}{{ raise_exception('the role ' ~ message.role ~ ' is not known') }}{% endif %}
        {%- endfor %}
        """;

    // LongLoRA's template for supervised fine-tuning on LongAlpaca.
    private const string LongAlpaca = """
        {{- bos_token }}
        {%- for message in messages %}
        {%- if message.role == 'user' %}
        {%- if message.input %}{{ "[INST] <<SYS>>\nYou are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe.  Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. Please ensure that your responses are socially unbiased and positive in nature.\n\nIf a question does not make any sense, or is not factually coherent, explain why instead of answering something not correct. If you don't know the answer to a question, please don't share false information.\n<</SYS>> \n\n " + message.instruction + ' \n' + message.input + ' [/INST]' }}
        {%- else %}{{ '[INST]' + message.content + '[/INST]' }}{% endif %}
        {%- elif message.role == 'assistant' %}{{ message.content + eos_token }}
        {%- else %}{{ raise_exception('the role ' ~ message.role ~ ' is not known') }}{% endif %}
        {%- endfor %}
        """;

    /// <summary>Templates by name.</summary>
    public static IReadOnlyDictionary<string, string> All { get; } =
        new Dictionary<string, string>
        {
            ["llama2"] = Llama2,
            ["llama3"] = Llama3,
            ["chatml"] = ChatMl,
            ["mistral"] = Mistral,
            ["phi3"] = Phi3,
            ["alpaca"] = Alpaca,
            ["longalpaca"] = LongAlpaca,
        };
}
