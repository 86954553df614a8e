"""Stubs of the OSS SDK for Java v2 0.5.0 and of Jackson, to compile recipes against.

Of each class only what recipes use is here, with its signatures.
"""

OSS = "com/aliyun/sdk/service/oss2"
REQUEST = """
    package com.aliyun.sdk.service.oss2.models;
    public class {name} {{
        public static Builder newBuilder() {{ return null; }}
        public static class Builder {{
            public Builder bucket(String value) {{ return this; }}
            public Builder key(String value) {{ return this; }}
            public {name} build() {{ return null; }}
        }}
    }}
"""
STUBS = {
    f"{OSS}/credentials/Credentials.java": """
        package com.aliyun.sdk.service.oss2.credentials;
        public class Credentials {
            public Credentials(String id, String secret, String token) {}
        }
    """,
    f"{OSS}/credentials/CredentialsProvider.java": """
        package com.aliyun.sdk.service.oss2.credentials;
        public interface CredentialsProvider { Credentials getCredentials(); }
    """,
    f"{OSS}/models/PutObjectRequest.java": REQUEST.format(name="PutObjectRequest"),
    f"{OSS}/models/GetObjectRequest.java": REQUEST.format(name="GetObjectRequest"),
    f"{OSS}/OSSClientBuilder.java": """
        package com.aliyun.sdk.service.oss2;
        import com.aliyun.sdk.service.oss2.credentials.CredentialsProvider;
        public interface OSSClientBuilder {
            OSSClientBuilder credentialsProvider(CredentialsProvider value);
            OSSClientBuilder region(String value);
            OSSClientBuilder endpoint(String value);
            OSSClientBuilder useCName(Boolean value);
            OSSClient build();
        }
    """,
    f"{OSS}/OSSClient.java": """
        package com.aliyun.sdk.service.oss2;
        import com.aliyun.sdk.service.oss2.models.*;
        import java.io.File;
        public interface OSSClient extends AutoCloseable {
            static OSSClientBuilder newBuilder() { return null; }
            Object putObjectFromFile(PutObjectRequest request, File file);
            Object getObjectToFile(GetObjectRequest request, File file);
        }
    """,
    "com/fasterxml/jackson/databind/JsonNode.java": """
        package com.fasterxml.jackson.databind;
        public class JsonNode {
            public boolean has(String name) { return false; }
            public JsonNode get(String name) { return null; }
            public String asText() { return null; }
            public boolean asBoolean() { return false; }
        }
    """,
    "com/fasterxml/jackson/databind/ObjectMapper.java": """
        package com.fasterxml.jackson.databind;
        import java.io.IOException;
        public class ObjectMapper {
            public JsonNode readTree(String json) throws IOException { return null; }
        }
    """,
}
SERVER = """
import com.aliyun.sdk.service.oss2.*;
import com.aliyun.sdk.service.oss2.credentials.*;
import com.aliyun.sdk.service.oss2.models.*;
import com.fasterxml.jackson.databind.*;
import java.io.*;
import java.net.*;
import java.net.http.*;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.*;

class Service {{
    String loginToken() {{ return null; }}
{server}
    void use() throws Exception {{
{use}
    }}
}}
"""


def service(server: str, use: str) -> str:
    """Return a class Service of the class in *server* and the statements in *use*."""
    return SERVER.format(server=server, use=use)
